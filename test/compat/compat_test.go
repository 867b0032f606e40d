//go:build e2e

// Package compat drives the registry with clients that others wrote. A client
// that cannot be had on a machine is skipped, with the reason. Run it with make
// compat.
package compat

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }

// need skips the test if a program is not installed.
func need(t *testing.T, program, from string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("SKIP: %s is not installed here; it comes with %s", program, from)
	}
}

// script runs a program with a script of testdata in dir, and returns what it
// printed.
func script(t *testing.T, dir string, env []string, program, name string, args ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, append([]string{path}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, name, err, out)
	}
	return string(out)
}

// TestCurl is a user with a shell and nothing else.
func TestCurl(t *testing.T) {
	need(t, "curl", "Debian's curl")
	p := process.Serve(t, t.TempDir())
	script(t, t.TempDir(), []string{"API=http://" + p.Addr + "/api/v1"}, "bash", "curl.sh")
}

// TestPython uses the standard library's urllib and json alone.
func TestPython(t *testing.T) {
	need(t, "python3", "Debian's python3")
	p := process.Serve(t, t.TempDir())
	script(t, t.TempDir(), nil, "python3", "client.py", "http://"+p.Addr+"/api/v1")
}

// TestPythonGRPC uses grpcio, of which the core is C and knows nothing of Go, with
// stubs that its own tools make of the .proto file.
func TestPythonGRPC(t *testing.T) {
	t.Parallel()
	need(t, "python3", "Debian's python3 and python3-venv")
	dir := t.TempDir()
	python := filepath.Join(dir, "venv", "bin", "python")
	for _, args := range [][]string{
		{"python3", "-m", "venv", filepath.Join(dir, "venv")},
		{python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1", "--timeout", "10", "grpcio>=1.60", "grpcio-tools>=1.60"},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("SKIP: grpcio cannot be installed here: %v: %s", err, out)
		}
	}
	stubs := exec.CommandContext(t.Context(), python, "-m", "grpc_tools.protoc",
		"-I../../api/rollcall/v1", "--python_out="+dir, "--grpc_python_out="+dir, "rollcall.proto")
	if out, err := stubs.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p := process.Serve(t, t.TempDir())
	script(t, dir, []string{"PYTHONPATH=" + dir}, python, "grpcclient.py", p.GRPC)
}

// TestEventSource subscribes with the npm package eventsource, which follows
// the browser's interface, and restarts the server under it: the client resumes
// with Last-Event-ID and misses nothing.
func TestEventSource(t *testing.T) {
	t.Parallel()
	need(t, "node", "Debian's nodejs")
	need(t, "npm", "Debian's npm")
	dir := t.TempDir()
	install := exec.CommandContext(t.Context(), "npm", "install", "--silent", "--no-audit", "--no-fund", "eventsource@4")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("SKIP: npm cannot install eventsource here: %v: %s", err, out)
	}
	text, err := os.ReadFile("testdata/eventsource.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "eventsource.mjs"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	binary, err := filepath.Abs(*process.Binary)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "eventsource.mjs", binary, filepath.Join(dir, "data"))
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "nothing missed") {
		t.Fatalf("%v\n%s", err, out)
	}
}
