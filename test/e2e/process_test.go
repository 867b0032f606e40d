//go:build e2e

// Package e2e drives real processes: the binary as users run it, killed, cut
// off, out of disk. Run it with make e2e.
package e2e

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall/client"
)

var binary = flag.String("rollcall", "../../bin/rollcall", "the binary to drive")

// process is a running rollcall serve.
type process struct {
	addr   string
	client *client.Client
	cmd    *exec.Cmd
	exited chan struct{} // closed once it is gone; err is set then
	err    error

	mu  sync.Mutex
	log strings.Builder
}

var readyLine = regexp.MustCompile(`^rollcall ready http=(\S+)`)

// serve starts a server on a data directory and returns once it is ready. It is
// killed at the end of the test.
func serve(t testing.TB, dir string, args ...string) *process {
	t.Helper()
	p, err := start(dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

func start(dir string, args ...string) (*process, error) {
	path, err := filepath.Abs(*binary)
	if err != nil {
		return nil, err
	}
	p := &process{exited: make(chan struct{})}
	p.cmd = exec.Command(path, append([]string{"serve", "--http", "127.0.0.1:0", "--data-dir", dir}, args...)...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w; build it with make build", err)
	}
	ready := make(chan string, 1)
	go func() {
		for s := bufio.NewScanner(stderr); s.Scan(); {
			p.mu.Lock()
			fmt.Fprintln(&p.log, s.Text())
			p.mu.Unlock()
			if m := readyLine.FindStringSubmatch(s.Text()); m != nil {
				ready <- m[1]
			}
		}
		io.Copy(io.Discard, stderr)
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	select {
	case p.addr = <-ready:
	case <-p.exited:
		return nil, fmt.Errorf("the server did not start: %v\n%s", p.err, p.output())
	case <-time.After(time.Minute):
		p.kill()
		return nil, fmt.Errorf("the server was not ready after a minute\n%s", p.output())
	}
	p.client, err = client.Dial(p.addr)
	return p, err
}

// output returns what the process wrote to standard error so far.
func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// kill kills the process with SIGKILL and waits until it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.exited
	if p.client != nil {
		p.client.Close()
	}
}

// stop asks the process to stop and returns how it ended.
func (p *process) stop(t testing.TB) error {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(30 * time.Second):
		p.kill()
		t.Fatalf("the server did not stop within 30 s of SIGTERM\n%s", p.output())
	}
	return p.err
}

// eventually waits until ok returns nil.
func eventually(t testing.TB, within time.Duration, ok func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within %v: %v", within, err)
		}
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	if _, err := os.Stat(*binary); err != nil {
		fmt.Fprintf(os.Stderr, "%v; build it with make build\n", err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}
