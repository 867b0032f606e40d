// Package process runs the rollcall binary for black-box tests.
package process

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

// Binary is the program to run, relative to a test two folders below the root.
var Binary = flag.String("rollcall", "../../bin/rollcall", "the binary to drive")

// Process is a running rollcall serve.
type Process struct {
	Addr   string // of HTTP
	GRPC   string // of gRPC, and HTTP as well; "off" if it is not served
	DNS    string // of DNS; "off" if it is not served
	Client *client.Client
	cmd    *exec.Cmd
	Exited chan struct{} // closed once it is gone; Err is set then
	Err    error

	mu  sync.Mutex
	log strings.Builder
}

var readyLine = regexp.MustCompile(`^rollcall ready http=(\S+) grpc=(\S+) dns=(\S+)`)

// Serve starts a server on a data directory and returns once it is ready. It is
// killed at the end of the test.
func Serve(t testing.TB, dir string, args ...string) *Process {
	t.Helper()
	p, err := Start(dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// Start is [Serve] for tests that expect it to fail, or to end by their hand.
func Start(dir string, args ...string) (*Process, error) {
	path, err := filepath.Abs(*Binary)
	if err != nil {
		return nil, err
	}
	p := &Process{Exited: make(chan struct{})}
	p.cmd = exec.Command(path, append([]string{"serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--dns", "127.0.0.1:0", "--data-dir", dir}, args...)...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w; build it with make build", err)
	}
	ready := make(chan []string, 1)
	go func() {
		for s := bufio.NewScanner(stderr); s.Scan(); {
			p.mu.Lock()
			fmt.Fprintln(&p.log, s.Text())
			p.mu.Unlock()
			if m := readyLine.FindStringSubmatch(s.Text()); m != nil {
				ready <- m[1:]
			}
		}
		io.Copy(io.Discard, stderr)
		p.Err = p.cmd.Wait()
		close(p.Exited)
	}()
	select {
	case at := <-ready:
		p.Addr, p.GRPC, p.DNS = at[0], at[1], at[2]
	case <-p.Exited:
		return nil, fmt.Errorf("the server did not start: %v\n%s", p.Err, p.Output())
	case <-time.After(time.Minute):
		p.Kill()
		return nil, fmt.Errorf("the server was not ready after a minute\n%s", p.Output())
	}
	p.Client, err = client.Dial(p.Addr)
	return p, err
}

// Output returns what the process wrote to standard error so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// Kill kills the process with SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.Exited
	if p.Client != nil {
		p.Client.Close()
	}
}

// Signal sends the process a signal.
func (p *Process) Signal(s os.Signal) { p.cmd.Process.Signal(s) }

// Stop asks the process to stop and returns how it ended.
func (p *Process) Stop(t testing.TB) error {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.Exited:
	case <-time.After(30 * time.Second):
		p.Kill()
		t.Fatalf("the server did not stop within 30 s of SIGTERM\n%s", p.Output())
	}
	return p.Err
}

// Eventually waits until ok returns nil.
func Eventually(t testing.TB, within time.Duration, ok func() error) {
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

// Main runs the tests of a package that needs the binary.
func Main(m *testing.M) {
	flag.Parse()
	if _, err := os.Stat(*Binary); err != nil {
		fmt.Fprintf(os.Stderr, "%v; build it with make build\n", err)
		os.Exit(2)
	}
	os.Exit(m.Run())
}
