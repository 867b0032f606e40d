//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall/test/process"
)

// roleVariable says which role this process plays in somebody else's test, with
// the role's arguments behind it.
const roleVariable = "ROLLCALL_E2E_ROLE"

// roles are what a test has other processes do. One prints a line once it does
// it, and ends when its standard input does.
var roles = map[string]func(t *testing.T, args []string){
	"keep":   keepInstances,
	"proxy":  proxyStreams,
	"put":    putInstance,
	"target": beTarget,
}

// TestRole is no test: it is what the processes do that other tests start.
func TestRole(t *testing.T) {
	role := strings.Fields(os.Getenv(roleVariable))
	if len(role) == 0 {
		t.Skip("is for processes that other tests start")
	}
	roles[role[0]](t, role[1:])
}

// say tells the test that started this process a line, and waits for its end.
func say(format string, args ...any) {
	fmt.Printf("\n> "+format+"\n", args...)
	io.Copy(io.Discard, os.Stdin)
}

// player is a process in a role.
type player struct {
	cmd  *exec.Cmd
	in   io.Closer
	Said string // its line
	once sync.Once
}

// play starts a process in a role and returns when it has said its line. It ends
// with the test. prefix is a command to start it by, or nothing.
func play(t *testing.T, prefix []string, role ...string) *player {
	t.Helper()
	command := append(prefix, os.Args[0], "-test.run", "^TestRole$", "-test.timeout", "30m", "-rollcall", *process.Binary)
	p := &player{cmd: exec.Command(command[0], command[1:]...)}
	p.cmd.Env = append(os.Environ(), roleVariable+"="+strings.Join(role, " "))
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	said := make(chan string, 1)
	var other strings.Builder // what it says if it fails
	go func() {               // ends with the process
		defer close(said)
		for s := bufio.NewScanner(out); s.Scan(); {
			if line, ok := strings.CutPrefix(s.Text(), "> "); ok {
				said <- line
				io.Copy(io.Discard, out)
				return
			}
			fmt.Fprintln(&other, s.Text())
		}
	}()
	select {
	case line, ok := <-said:
		if !ok {
			t.Fatalf("%s ended:\n%s", role, other.String())
		}
		p.Said = line
	case <-time.After(2 * time.Minute):
		t.Fatalf("%s says nothing", role)
	}
	return p
}

// kill kills the process with SIGKILL and waits until it is gone.
func (p *player) kill() {
	p.once.Do(func() {
		p.cmd.Process.Kill()
		p.in.Close()
		p.cmd.Wait()
	})
}
