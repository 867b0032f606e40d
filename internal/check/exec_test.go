//go:build unix

package check

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/egress"
)

// script writes a program and returns where.
func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "probe")
	if err := os.WriteFile(name, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}

// runs probes by a command whose check may run.
func runs(t *testing.T, command string, timeout time.Duration) Outcome {
	t.Helper()
	to := Target{Address: "10.0.0.1", Ports: map[string]uint16{"http": 80, "x-y": 81, "c": 82}, Configured: true}
	return probeBy(t, &prober{policy: egress.New(egress.Options{}), exec: true}, to, check("exec", command), timeout)
}

func TestExec(t *testing.T) {
	want(t, runs(t, script(t, `echo "fine $1"`)+" yes;no", 10*time.Second), Outcome{Status: rollcall.Healthy, Output: "exit status 0: fine yes;no"})
	want(t, runs(t, script(t, "echo bad >&2; exit 3"), 10*time.Second), Outcome{Status: rollcall.Unhealthy, Output: "exit status 3: bad"})
	want(t, runs(t, script(t, "kill -9 $$"), 10*time.Second), Outcome{Status: rollcall.Unhealthy, Output: "signal: killed"})
	want(t, runs(t, "/no/such/program", 10*time.Second), Outcome{Status: rollcall.Unhealthy, Output: "no such file"})
	want(t, runs(t, "sh", 10*time.Second), Outcome{Status: rollcall.Unhealthy, Output: "not the whole path"})
	want(t, runs(t, script(t, "yes"), 300*time.Millisecond), Outcome{Status: rollcall.Unhealthy, Output: "in time", Timeout: true})
}

func TestExecEnvironment(t *testing.T) {
	t.Setenv("SECRET", "token")
	out := filepath.Join(t.TempDir(), "env")
	want(t, runs(t, script(t, "env > "+out+"; pwd >> "+out), 10*time.Second), Outcome{Status: rollcall.Healthy, Output: "exit status 0"})
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"ROLLCALL_SERVICE=s", "ROLLCALL_ID=i", "ROLLCALL_NAMESPACE=default", "ROLLCALL_CHECK=c", "ROLLCALL_ADDRESS=10.0.0.1",
		"ROLLCALL_PORT=82", "ROLLCALL_PORT_HTTP=80", "ROLLCALL_PORT_X_Y=81", "/",
	} {
		if !strings.Contains("\n"+string(text), "\n"+line+"\n") {
			t.Errorf("no %s in\n%s", line, text)
		}
	}
	if strings.Contains(string(text), "SECRET") {
		t.Errorf("it got the registry's own environment:\n%s", text)
	}
}

// A command that does not end in time ends with all that it started.
func TestExecEndsGroup(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	if err := syscall.Mkfifo(pids, 0o600); err != nil {
		t.Fatal(err)
	}
	pid := make(chan string, 1)
	go func() {
		b, _ := os.ReadFile(pids)
		pid <- strings.TrimSpace(string(b))
	}()
	text := fmt.Sprintf("trap '' TERM\nsleep 1000 &\necho $! > %s\nwait", pids)
	want(t, runs(t, script(t, text), time.Second), Outcome{Status: rollcall.Unhealthy, Output: "in time", Timeout: true})
	n, err := strconv.Atoi(<-pid)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if time.Now().After(deadline) {
			syscall.Kill(n, syscall.SIGKILL)
			t.Fatalf("what it started runs on: %s", stat)
		}
	}
}

func TestBounded(t *testing.T) {
	var w bounded
	for range 100 {
		if n, err := w.Write(make([]byte, 1000)); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
	}
	if len(w.b) != maxBody {
		t.Errorf("%d bytes are kept", len(w.b))
	}
}

// Nobody but whoever writes the server's configuration has commands run.
func TestExecRefused(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	c := check("exec", script(t, "touch "+ran))
	for _, tt := range []struct {
		on, configured bool
		why            string
	}{
		{true, false, "for services of the server's own configuration file"},
		{false, false, "for services of the server's own configuration file"},
		{false, true, "are off"},
	} {
		p := &prober{policy: egress.New(egress.Options{}), exec: tt.on}
		to := Target{Address: "10.0.0.1", Configured: tt.configured, Vouched: true}
		want(t, probeBy(t, p, to, c, 10*time.Second), Outcome{Status: rollcall.Unhealthy, Output: tt.why})
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("it ran")
	}
}
