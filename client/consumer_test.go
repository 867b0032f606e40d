package client_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rollcall-registry/rollcall"

// TestWhatAConsumerLinks builds a module that imports all of the client, as others
// do, and holds it to what it may bring along: gRPC with what its API is made of,
// protobuf, and what belongs to Go itself.
func TestWhatAConsumerLinks(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skipf("SKIP: nothing can be built here: %v", err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	write("go.sum", string(sums))
	write("go.mod", fmt.Sprintf("module example.com/consumer\n\ngo 1.26.0\n\nrequire %[1]s v0.0.0\n\nreplace %[1]s => %[2]s\n", module, root))
	imports := ""
	for _, p := range published(t, root) {
		imports += fmt.Sprintf("import _ %q\n", p)
	}
	write("main.go", "package main\n\n"+imports+"\nfunc main() {}\n")

	run := func(args ...string) (string, error) {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		// What this module was built from is here; nothing is fetched.
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "GOPROXY=off")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("mod", "tidy"); err != nil {
		if strings.Contains(out, "GOPROXY=off") {
			t.Skipf("SKIP: a module that is needed is not in the module cache:\n%s", out)
		}
		t.Fatalf("go mod tidy: %v\n%s", err, out)
	}
	if out, err := run("build", "-o", "consumer", "."); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	tidy, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	linked, err := run("version", "-m", "consumer")
	if err != nil {
		t.Fatalf("go version: %v\n%s", err, linked)
	}
	var all []string
	for _, line := range strings.Split(string(tidy)+linked, "\n") {
		f := strings.Fields(strings.TrimPrefix(line, "require "))
		if len(f) > 0 && f[0] == "dep" {
			f = f[1:]
		}
		if len(f) > 1 && strings.Contains(f[0], ".") && strings.HasPrefix(f[1], "v") {
			all = append(all, f[0])
		}
	}
	if !slices.Contains(all, "google.golang.org/grpc") {
		t.Fatalf("found no modules in:\n%s%s", tidy, linked)
	}
	for _, m := range all {
		if !slices.Contains([]string{module, "google.golang.org/grpc", "google.golang.org/genproto/googleapis/rpc", "google.golang.org/protobuf"}, m) && !strings.HasPrefix(m, "golang.org/x/") {
			t.Errorf("a consumer needs %s", m)
		}
	}
}

// published returns the packages that consumers may import, apart from the root.
func published(t *testing.T, root string) (paths []string) {
	t.Helper()
	for _, top := range []string{"client", "api"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(p string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case d.IsDir() && (d.Name() == "internal" || d.Name() == "testdata"):
				return filepath.SkipDir
			case d.IsDir():
				return nil
			}
			if !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
				return nil
			}
			dir, err := filepath.Rel(root, filepath.Dir(p))
			if at := module + "/" + filepath.ToSlash(dir); err == nil && !slices.Contains(paths, at) {
				paths = append(paths, at)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return paths
}
