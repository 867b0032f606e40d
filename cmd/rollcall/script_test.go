package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"rollcall": main,
		"child":    child,
	})
}

func TestScripts(t *testing.T) { runScripts(t, testscript.Params{Dir: "testdata/script"}, "") }

// TestScriptsOverGRPC has verbs talk gRPC to the server.
func TestScriptsOverGRPC(t *testing.T) {
	var p testscript.Params
	for _, name := range []string{"backup", "bench", "drain", "lookup", "outage", "query", "register", "run", "select", "watch", "why"} {
		p.Files = append(p.Files, "testdata/script/"+name+".txtar")
	}
	runScripts(t, p, "grpc://")
}

// runScripts runs scripts, which talk to servers at addresses with a scheme.
func runScripts(t *testing.T, p testscript.Params, scheme string) {
	testscript.Run(t, testscript.Params{
		Dir:   p.Dir,
		Files: p.Files,
		Setup: func(e *testscript.Env) error {
			e.Setenv("SCHEME", scheme)
			e.Setenv("ROLLCALL_ADDR", scheme+"127.0.0.1:1") // nobody, until a script starts a server
			e.Setenv("GORACE", noPause)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server":  startServer,
			"stop":    stopServer,
			"crash":   crashServer,
			"exits":   exits,
			"until":   until,
			"damage":  damage,
			"mode":    mode,
			"extract": extract,
			"ask":     ask,
			"signal":  sendSignal,
		},
		RequireUniqueNames: true,
	})
}

// noPause keeps processes under the race detector from waiting for a second
// before they exit.
const noPause = "atexit_sleep_ms=0"

// patience is how long a script waits for what must come.
const patience = 20 * time.Second

// serverProcess is the one server that a script may have running at a time.
type serverProcess struct {
	cmd  *exec.Cmd
	done chan struct{}

	mu     sync.Mutex
	stderr bytes.Buffer
}

// servers holds each script's server, by its working directory.
var servers sync.Map

// startServer runs "rollcall serve" on free ports, with the data in
// $WORK/data unless --data-dir says otherwise, waits until it is ready, and puts
// its addresses into HTTP_ADDR, GRPC_ADDR and DNS_ADDR, and the one that the scripts'
// scheme asks for into ROLLCALL_ADDR.
func startServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! server")
	}
	data := []string{"--data-dir", ts.MkAbs("data")}
	for _, a := range args {
		if a == "--data-dir" {
			data = nil
		}
	}
	s := &serverProcess{done: make(chan struct{})}
	s.cmd = exec.Command("rollcall", append(append([]string{"serve", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--dns", "127.0.0.1:0"}, data...), args...)...)
	s.cmd.Dir = ts.MkAbs(".")
	s.cmd.Env = append(os.Environ(), "GORACE="+noPause, "ROLLCALL_HTTP="+ts.Getenv("ROLLCALL_HTTP"), "ROLLCALL_CONFIG="+ts.Getenv("ROLLCALL_CONFIG"))
	stderr, err := s.cmd.StderrPipe()
	ts.Check(err)
	ts.Check(s.cmd.Start())
	ready := make(chan [3]string, 1)
	go func() { // ends with the process, which the script's end waits for
		defer close(s.done)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			s.mu.Lock()
			fmt.Fprintln(&s.stderr, lines.Text())
			s.mu.Unlock()
			if rest, ok := strings.CutPrefix(lines.Text(), "rollcall ready http="); ok {
				http, rest, _ := strings.Cut(rest, " ")
				grpc, rest, _ := strings.Cut(strings.TrimPrefix(rest, "grpc="), " ")
				ready <- [3]string{http, grpc, strings.TrimPrefix(rest, "dns=")}
			}
		}
		s.cmd.Wait()
	}()
	if _, running := servers.LoadOrStore(ts.MkAbs("."), s); running {
		ts.Fatalf("a server is running; stop it first")
	}
	ts.Defer(func() { end(ts, syscall.SIGKILL) })
	select {
	case at := <-ready:
		ts.Setenv("HTTP_ADDR", at[0])
		ts.Setenv("GRPC_ADDR", at[1])
		ts.Setenv("DNS_ADDR", at[2])
		ts.Setenv("ROLLCALL_ADDR", at[0])
		if scheme := ts.Getenv("SCHEME"); scheme != "" {
			ts.Setenv("ROLLCALL_ADDR", scheme+at[1])
		}
	case <-s.done:
		ts.Fatalf("the server ended:\n%s", s.output())
	case <-time.After(patience):
		ts.Fatalf("the server is not ready:\n%s", s.output())
	}
}

func (s *serverProcess) output() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stderr.String()
}

// end signals the script's server and waits for its end.
func end(ts *testscript.TestScript, sig os.Signal) *serverProcess {
	x, ok := servers.LoadAndDelete(ts.MkAbs("."))
	if !ok {
		return nil
	}
	s := x.(*serverProcess)
	s.cmd.Process.Signal(sig)
	select {
	case <-s.done:
	case <-time.After(patience):
		s.cmd.Process.Kill()
		<-s.done
	}
	return s
}

// stopServer ends the server in order; what it said is in $WORK/server.log.
func stopServer(ts *testscript.TestScript, neg bool, args []string) {
	s := end(ts, syscall.SIGTERM)
	if s == nil {
		ts.Fatalf("no server is running")
	}
	ts.Check(os.WriteFile(ts.MkAbs("server.log"), []byte(s.output()), 0o600))
	if status := s.cmd.ProcessState.ExitCode(); status != 0 {
		ts.Fatalf("the server ended with status %d:\n%s", status, s.output())
	}
}

// crashServer kills the server.
func crashServer(ts *testscript.TestScript, neg bool, args []string) { end(ts, syscall.SIGKILL) }

// exits runs a command and checks its exit status: exits 2 rollcall bogus.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		e, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = e.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// until runs a command again and again until its output matches, or with ! no
// longer does: until 'p-1' rollcall resolve payments.
func until(ts *testscript.TestScript, neg bool, args []string) {
	re := regexp.MustCompile("(?m)" + args[0])
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for late := time.After(patience); ; {
		err := ts.Exec(args[1], args[2:]...)
		if out := ts.ReadFile("stdout"); err == nil && re.MatchString(out) != neg {
			return
		}
		select {
		case <-ticker.C:
		case <-late:
			ts.Fatalf("it did not come to that")
		}
	}
}

// damage changes a byte in the middle of a file, or cuts its end off: damage
// FILE [cut].
func damage(ts *testscript.TestScript, neg bool, args []string) {
	name := ts.MkAbs(args[0])
	b, err := os.ReadFile(name)
	ts.Check(err)
	if len(args) > 1 {
		b = b[:len(b)-1]
	} else {
		b[len(b)/2] ^= 0x40
	}
	ts.Check(os.WriteFile(name, b, 0o600))
}

// mode checks the permissions of a file: mode 0600 FILE.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%#o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("mode %s, want %s", got, args[0])
	}
}

// extract puts what a regular expression's group matches in the last output
// into a variable: extract TOKEN '"token": "([^"]+)"'.
func extract(ts *testscript.TestScript, neg bool, args []string) {
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil {
		ts.Fatalf("no match for %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// ask looks addresses up with the server's DNS: ask web.service.rollcall.
func ask(ts *testscript.TestScript, neg bool, args []string) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, ts.Getenv("DNS_ADDR"))
	}}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	_, err := r.LookupHost(ctx, args[0])
	ts.Check(err)
}

// sendSignal signals the process whose id is in a file: signal TERM run.pid.
func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	sig, ok := map[string]syscall.Signal{
		"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1, "KILL": syscall.SIGKILL,
	}[args[0]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[0])
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[1])))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, sig))
}

// child is what "rollcall run" wraps in scripts. "child exit N" ends at once;
// "child echo" copies its input; "child until FILE" ends when there is such a
// file; "child wait FILE [COMMAND...]" appends the names of the signals it gets to
// a file, and at SIGTERM or SIGINT what the command prints, and ends.
func child() {
	switch os.Args[1] {
	case "exit":
		n, _ := strconv.Atoi(os.Args[2])
		os.Exit(n)
	case "until":
		ticker := time.NewTicker(10 * time.Millisecond)
		for range ticker.C {
			if _, err := os.Stat(os.Args[2]); err == nil {
				return
			}
		}
	case "echo":
		io.Copy(os.Stdout, os.Stdin)
	case "wait":
		signals := make(chan os.Signal, 16)
		signal.Notify(signals)
		note(os.Args[2], "started")
		for s := range signals {
			if s == syscall.SIGURG || s == syscall.SIGCHLD {
				continue // the runtime's own
			}
			note(os.Args[2], s.String())
			if s == syscall.SIGTERM || s == os.Interrupt {
				if len(os.Args) > 3 {
					out, _ := exec.Command(os.Args[3], os.Args[4:]...).CombinedOutput()
					note(os.Args[2], string(out))
				}
				return
			}
		}
	}
}

func note(file, line string) {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	fmt.Fprintln(f, line)
}
