// Package examples builds the examples and runs them against a registry.
package examples

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
)

// build builds an example and returns where it is.
func build(t *testing.T, name string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "example")
	if text, err := exec.Command("go", "build", "-o", out, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return out
}

// process is an example that runs.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string // that it has written
}

func start(t *testing.T, bin, registry string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(bin), lines: make(chan string, 1000)}
	p.cmd.Env = append(os.Environ(), "ROLLCALL_ADDR="+registry)
	r, w := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = w, w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(p.lines)
		for s := bufio.NewScanner(r); s.Scan(); {
			p.lines <- s.Text()
		}
	})
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		p.cmd.Wait()
		w.Close()
		for range p.lines {
		}
		reading.Wait()
	})
	return p
}

// says waits for a line that contains a text.
func (p *process) says(text string) string {
	p.t.Helper()
	var all []string
	for line := range p.lines {
		if strings.Contains(line, text) {
			return line
		}
		all = append(all, line)
	}
	p.t.Fatalf("ended without %q:\n%s", text, strings.Join(all, "\n"))
	return ""
}

// ends has the process end, as one that is replaced does.
func (p *process) ends() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("%v", err)
	}
}

// TestServices: a caller goes on while the service's instances are replaced.
func TestServices(t *testing.T) {
	for kind, answer := range map[string]string{"http": "hello from ", "grpc": "SERVING from "} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			service, caller := build(t, kind+"/service"), build(t, kind+"/caller")
			registry := "grpc://" + rollcalltest.Start(t).GRPC
			first := start(t, service, registry)
			first.says("registered")
			c := start(t, caller, registry)
			at := c.says(answer)
			second := start(t, service, registry)
			second.says("registered")
			for c.says(answer) == at {
			}
			first.ends()
			for line := range c.lines {
				if !strings.HasPrefix(line, answer) {
					t.Fatal(line)
				}
				if line != at {
					break
				}
			}
			c.ends()
			second.ends()
		})
	}
}

func TestWorkers(t *testing.T) {
	t.Parallel()
	bin := build(t, "worker")
	registry := rollcalltest.Start(t).Addr // over HTTP
	first := start(t, bin, registry)
	first.says("1 workers, mine are [0 1 2 3 4 5 6 7 8 9 10 11]")
	second := start(t, bin, registry)
	first.says("2 workers")
	second.says("2 workers")
	first.ends()
	second.says("1 workers, mine are [0 1 2 3 4 5 6 7 8 9 10 11]")
	second.ends()
}
