package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// Size is what one engine adds to a static binary that does nothing else.
type Size struct {
	Engine  string  `json:"engine"`
	MiB     float64 `json:"mib"`
	Modules int     `json:"modules"`
}

const rollcall = "github.com/rollcall-registry/rollcall"

// sizeProgram opens, appends and replays; %s is the engine's constructor.
const sizeProgram = `package main

import (
	"log"
	"os"
)

var logger = log.New(os.Stderr, "", 0)

func main() {
	e, err := %s(Config{Dir: os.Args[1], Replay: func(r []byte) { os.Stdout.Write(r) }})
	if err != nil {
		logger.Fatal(err)
	}
	if err := e.Commit([][]byte{[]byte(os.Args[2])}); err != nil {
		logger.Fatal(err)
	}
	if err := e.Close(); err != nil {
		logger.Fatal(err)
	}
}
`

// size builds a minimal program around each engine's own file, and weighs it.
func size(chosen []Spec, root, out string) error {
	sources := map[string][]string{ // constructor, then files
		"plain":       {"openPlain", "plain.go", "../plain/plain.go"},
		"etcd-wal":    {"openEtcd", "etcdwal.go"},
		"pebble-wal":  {"openPebbleWAL", "pebblewal.go", "pebbleenv.go", "../plain/plain.go", "../plain/slow.go"},
		"pebble-db":   {"openPebbleDB", "pebbledb.go", "pebbleenv.go", "../plain/plain.go", "../plain/slow.go"},
		"raft-wal":    {"openRaftWAL", "raftwal.go"},
		"tidwall-wal": {"openTidwall", "tidwall.go"},
		"bbolt":       {"openBolt", "bolt.go"},
	}
	here, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("run this inside the module: %w", err)
	}
	module := strings.TrimSpace(string(here))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "engine\tMiB\tadded\tmodules\t")
	var base Size
	for _, s := range chosen {
		source, ok := sources[s.Name]
		if !ok {
			continue // a variant of another one
		}
		z, err := weigh(s.Name, source[0], source[1:], module, filepath.Join(root, s.Name))
		if err != nil {
			return err
		}
		if s.Name == "plain" {
			base = z
		}
		if err := save(out, z); err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%d\t\n", z.Engine, z.MiB, z.MiB-base.MiB, z.Modules)
	}
	return w.Flush()
}

func weigh(engine, open string, files []string, module, dir string) (Size, error) {
	z := Size{Engine: engine}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return z, err
	}
	for _, name := range append([]string{"../go.mod", "../go.sum", "engine.go"}, files...) {
		b, err := os.ReadFile(filepath.Join(module, "engines", name))
		if err != nil {
			return z, err
		}
		// The folder stands for engines/: packages beside that come below it.
		to := filepath.Join(dir, strings.TrimPrefix(name, "../"))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return z, err
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			return z, err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), fmt.Appendf(nil, sizeProgram, open), 0o600); err != nil {
		return z, err
	}
	// No engine needs Rollcall itself, but what go.mod says must be found.
	edit := exec.Command("go", "mod", "edit", "-replace", rollcall+"="+filepath.Dir(module))
	edit.Dir, edit.Stderr = dir, os.Stderr
	if err := edit.Run(); err != nil {
		return z, err
	}
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", "program", ".")
	build.Dir, build.Env, build.Stderr = dir, append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	if err := build.Run(); err != nil {
		return z, fmt.Errorf("%s: %w", engine, err)
	}
	program := filepath.Join(dir, "program")
	info, err := os.Stat(program)
	if err != nil {
		return z, err
	}
	listing, err := exec.Command("go", "version", "-m", program).Output()
	if err != nil {
		return z, err
	}
	z.MiB, z.Modules = mib(info.Size()), bytes.Count(listing, []byte("\n\tdep\t"))
	return z, nil
}
