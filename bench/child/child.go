// Package child runs what must not share a process with the load generator: servers, the
// limits that they are compared with, and work that is measured in process. A program that
// calls [Main] first is its own child: it is run again with a role and what the role is to
// do, as JSON.
package child

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// argument is what a program's first argument is if it is a child.
const argument = "child"

// Role is what a child can be: it does what config says until it is killed, or returns
// with a result. A server says that it is there by calling [Ready].
type Role func(config []byte) (result any, err error)

// Main does not return if this process is a child.
func Main(roles map[string]Role) {
	if len(os.Args) != 4 || os.Args[1] != argument {
		return
	}
	role, ok := roles[os.Args[2]]
	if !ok {
		fail(fmt.Errorf("no role %q", os.Args[2]))
	}
	result, err := role([]byte(os.Args[3]))
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fail(err)
	}
	os.Exit(0)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

const ready = "ready "

// Ready tells the parent where a server can be reached.
func Ready(addr string) { fmt.Println(ready + addr) }

// Process is a child, or another program, that runs.
type Process struct {
	Addr string // where it says it can be reached
	cmd  *exec.Cmd
	done chan struct{} // closed once it is gone
	mu   sync.Mutex
	said strings.Builder
}

// Run runs a role to its end and decodes its result.
func Run(role string, config, result any) error {
	cmd, err := command(role, config)
	if err != nil {
		return err
	}
	var errors strings.Builder
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", role, err, errors.String())
	}
	return json.Unmarshal(out, result)
}

// Start starts a server and waits until it is there.
func Start(role string, config any) (*Process, error) {
	cmd, err := command(role, config)
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	return start(cmd, out, func(line string) (string, bool) { return strings.CutPrefix(line, ready) })
}

// Exec starts a program that says on standard error or output where it can be reached: addr
// finds that in a line.
func Exec(addr func(line string) (string, bool), name string, args ...string) (*Process, error) {
	cmd := exec.Command(name, args...)
	out, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = cmd.Stderr
	return start(cmd, out, addr)
}

func command(role string, config any) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	return exec.Command(self, argument, role, string(text)), nil
}

// start starts a command and reads what it says, out being the end that has the address.
func start(cmd *exec.Cmd, out io.Reader, addr func(string) (string, bool)) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	go func() {
		defer close(p.done)
		for s := bufio.NewScanner(out); s.Scan(); {
			fmt.Fprintln(p, s.Text())
			if a, ok := addr(s.Text()); ok {
				select {
				case found <- a:
				default:
				}
			}
		}
		io.Copy(io.Discard, out)
		cmd.Wait()
	}()
	select {
	case p.Addr = <-found:
		return p, nil
	case <-p.done:
	case <-time.After(time.Minute):
		p.Kill()
	}
	return nil, fmt.Errorf("%s did not start: %s", cmd.Path, p.Said())
}

// Write keeps what the process says, up to a limit.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said.Len() < 64<<10 {
		p.said.Write(b)
	}
	return len(b), nil
}

// Said returns what the process has said so far.
func (p *Process) Said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// PID returns the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill kills the process and waits until it is gone.
func (p *Process) Kill() {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		panic(err) // our own child: cannot be
	}
	<-p.done
}
