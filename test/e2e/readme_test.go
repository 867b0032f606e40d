//go:build e2e

package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall/test/process"
)

// step is a command that the README prints, with what it prints of its output.
type step struct {
	command string
	output  []string
}

// readSteps returns the commands of the README's console blocks. A block without
// a command goes on with the output of the watch.
func readSteps(t *testing.T) (steps []step, watched []string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for n, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllSubmatch(text, -1) {
		watch := !bytes.Contains(block[1], []byte("$ "))
		for line := range strings.Lines(string(block[1])) {
			line = strings.TrimSuffix(line, "\n")
			command, ok := strings.CutPrefix(line, "$ ")
			switch {
			case ok:
				steps = append(steps, step{command: command})
				watch = strings.HasPrefix(command, "rollcall watch")
			case watch:
				watched = append(watched, line)
			case len(steps) == 0:
				t.Fatalf("block %d begins with output", n)
			default:
				s := &steps[len(steps)-1]
				s.output = append(s.output, line)
			}
		}
	}
	return steps, watched
}

// same makes outputs comparable that differ in times and column widths, or in
// the order of what happened at the same moment.
func same(lines []string) []string {
	lines = slices.Clone(lines)
	for i, l := range lines {
		l = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\b\d\d:\d\d:\d\d\b`).ReplaceAllString(l, "TIME")
		l = regexp.MustCompile(`^((?:yes|no) +\S+ +\S+) +\d+m?s `).ReplaceAllString(l, "$1 AGO ")
		lines[i] = strings.Join(strings.Fields(l), " ")
	}
	slices.Sort(lines)
	return slices.DeleteFunc(lines, func(l string) bool { return l == "" })
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// output collects what a command writes.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) lines() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Split(o.b.String(), "\n")
}

// TestReadme does what the README says, command by command, and compares what
// comes out.
func TestReadme(t *testing.T) {
	if c, err := net.Dial("tcp", "127.0.0.1:7070"); err == nil {
		c.Close()
		t.Fatal("something listens on 127.0.0.1:7070, where the README's commands expect their own registry; stop it")
	}
	steps, watched := readSteps(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "ROLLCALL_DATA_DIR="+t.TempDir(), "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH"))
	shell := func(command string, out *output) *exec.Cmd {
		cmd := exec.Command("bash", "-c", command)
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = root, env, out, out
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.WaitDelay = time.Second
		return cmd
	}
	background := func(command string) *output {
		out := new(output)
		cmd := shell("exec "+command, out)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			// In order, so that rollcall run can stop what it runs.
			syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
			kill := time.AfterFunc(5*time.Second, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
			defer kill.Stop()
			cmd.Wait()
		})
		return out
	}
	var watching *output
	for _, s := range steps {
		switch command, inBackground := strings.CutSuffix(s.command, " &"); {
		case command == "make run":
			out := background(command)
			process.Eventually(t, time.Minute, func() error {
				if text := strings.Join(out.lines(), "\n"); !strings.Contains(text, "rollcall ready http=127.0.0.1:7070") {
					return fmt.Errorf("make run has not said that it is ready:\n%s", text)
				}
				return nil
			})
		case strings.HasPrefix(command, "rollcall watch"):
			watching = background(command)
			process.Eventually(t, 10*time.Second, func() error {
				if len(watching.lines()) < 2 {
					return fmt.Errorf("%s prints nothing", command)
				}
				return nil
			})
		case inBackground:
			background(command)
		case strings.HasPrefix(command, "dig ") && !installed("dig"):
			t.Logf("there is no dig to try %q with", command)
		default:
			process.Eventually(t, 10*time.Second, func() error {
				out := new(output)
				if err := shell(command, out).Run(); err != nil {
					return fmt.Errorf("%s: %w\n%s", command, err, strings.Join(out.lines(), "\n"))
				}
				if diff := cmp.Diff(same(s.output), same(out.lines())); diff != "" && s.output != nil {
					return fmt.Errorf("%s prints something else (-README +now):\n%s", command, diff)
				}
				return nil
			})
		}
	}
	if watching == nil {
		t.Fatal("the README watches nothing")
	}
	process.Eventually(t, 10*time.Second, func() error {
		if diff := cmp.Diff(same(watched), same(watching.lines())); diff != "" {
			return fmt.Errorf("the watch printed something else (-README +now):\n%s", diff)
		}
		return nil
	})
}
