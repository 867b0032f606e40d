package cache

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

func sample() *File {
	return &File{
		Query: "default/payments?", Confirmed: time.Now().Add(-time.Hour).UTC(),
		Token: rollcall.Token{Log: "0123456789abcdef", Revision: 7, Generation: 8},
		Instances: []rollcall.Instance{{
			Namespace: "default", Service: "payments", ID: "p-1", Address: "10.0.0.1", Ports: map[string]uint16{"http": 80},
			Capabilities: map[string]rollcall.Value{"gpu": rollcall.Number(2)}, Weight: new(uint16(0)), EffectiveWeight: new(uint16(3)),
			Health: &rollcall.Health{Status: rollcall.Draining, Reason: "drain", Since: time.Now().UTC()},
		}},
	}
}

// dir returns a directory that is yet to be made, and what it logs.
func dir(t *testing.T) (Dir, *bytes.Buffer) {
	var log bytes.Buffer
	return Dir{filepath.Join(t.TempDir(), "a", "b"), slog.New(slog.NewTextHandler(&log, nil))}, &log
}

func TestRoundTrip(t *testing.T) {
	d, log := dir(t)
	if d.Load(sample().Query) != nil {
		t.Error("something is there before anything was kept")
	}
	want := sample()
	d.Save(&File{Query: want.Query})
	d.Save(want)
	if diff := cmp.Diff(want, d.Load(want.Query)); diff != "" {
		t.Errorf("kept and read (-want +got):\n%s", diff)
	}
	if d.Load("default/payment?") != nil {
		t.Error("another query has it too")
	}
	entries, err := os.ReadDir(d.Path)
	if err != nil || len(entries) != 1 {
		t.Fatalf("in the directory are %v, %v", entries, err)
	}
	for path, mode := range map[string]os.FileMode{d.Path: 0o700, d.path(want.Query): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v, %v; want %v", path, info.Mode(), err, mode)
		}
	}
	if log.Len() > 0 {
		t.Errorf("logged %s", log)
	}
}

// TestNamesStayInside: no query names a file elsewhere.
func TestNamesStayInside(t *testing.T) {
	d, _ := dir(t)
	for _, query := range []string{"../../etc/passwd", "/etc/passwd", "a/../../b?x=\x00", strings.Repeat("x", 10_000), "."} {
		if path := d.path(query); filepath.Dir(path) != d.Path || len(filepath.Base(path)) != 37 {
			t.Errorf("%.20q is kept in %s", query, path)
		}
	}
}

// TestDamaged: what cannot be believed is as good as not there, with a word in the log.
func TestDamaged(t *testing.T) {
	whole, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	changed := func(at int, to byte) []byte {
		b := bytes.Clone(whole)
		b[at] ^= to
		return b
	}
	other := *sample()
	other.Query = "default/other?"
	others, _ := Encode(&other)
	odd := []byte(magic + "\x00\x00\x00\x00{")
	binary.BigEndian.PutUint32(odd[len(magic):], checksum([]byte("{")))
	for name, test := range map[string]struct {
		b    []byte
		want string
	}{
		"empty":        {nil, "not a view"},
		"foreign":      {[]byte(strings.Repeat("#!/bin/sh\n", 10)), "not a view"},
		"truncated":    {whole[:len(whole)-10], "checksum"},
		"header alone": {whole[:header], "checksum"},
		"a bit":        {changed(header+20, 4), "checksum"},
		"the checksum": {changed(len(magic), 1), "checksum"},
		"a new format": {changed(len(magic)-1, 3), "format is 2"},
		"another's":    {others, "default/other?"},
		"no JSON":      {odd, "unexpected end"},
		"too long":     {append(bytes.Clone(whole), make([]byte, mostFile)...), "MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			d, log := dir(t)
			d.Save(sample())
			if err := os.WriteFile(d.path(sample().Query), test.b, 0o600); err != nil {
				t.Fatal(err)
			}
			if f := d.Load(sample().Query); f != nil || !strings.Contains(log.String(), test.want) {
				t.Errorf("read %v, logged %s", f, log)
			}
			d.Save(sample()) // it is in nobody's way
			if d.Load(sample().Query) == nil {
				t.Error("it cannot be replaced")
			}
		})
	}
	d, log := dir(t)
	if err := os.MkdirAll(d.path(sample().Query), 0o700); err != nil {
		t.Fatal(err)
	}
	if d.Load(sample().Query) != nil || !strings.Contains(log.String(), "not a file") {
		t.Errorf("a directory was read: %s", log)
	}
	if d.Save(sample()); !strings.Contains(log.String(), "cannot be kept") {
		t.Errorf("logged %s", log)
	}
	if left, _ := filepath.Glob(filepath.Join(d.Path, ".new-*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

// TestFuture: by a clock that was ahead nothing is younger than now.
func TestFuture(t *testing.T) {
	d, _ := dir(t)
	f := sample()
	f.Confirmed = time.Now().Add(time.Hour)
	d.Save(f)
	if got := d.Load(f.Query); got.Confirmed.After(time.Now()) {
		t.Errorf("confirmed at %v", got.Confirmed)
	}
}

// TestTidy: only what is old goes, and of that nothing that is somebody else's.
func TestTidy(t *testing.T) {
	d, _ := dir(t)
	d.Save(sample())
	d.Save(&File{Query: "old"})
	for _, name := range []string{".new-1", ".new-2", "README"} {
		if err := os.WriteFile(filepath.Join(d.Path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-40 * 24 * time.Hour)
	for _, path := range []string{d.path("old"), filepath.Join(d.Path, ".new-1"), filepath.Join(d.Path, "README")} {
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	d.Tidy(time.Now())
	left, _ := os.ReadDir(d.Path)
	if len(left) != 3 || d.Load(sample().Query) == nil {
		t.Errorf("left are %v", left)
	}
	Dir{Path: filepath.Join(d.Path, "none")}.Tidy(time.Now())
}

// FuzzDecode: whatever is read, it does no harm, and what is accepted can be written.
func FuzzDecode(f *testing.F) {
	whole, _ := Encode(sample())
	f.Add(whole)
	f.Add(whole[:20])
	f.Add([]byte(magic + "\x00\x00\x00\x00{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= header { // else next to nothing is accepted
			b = bytes.Clone(b)
			binary.BigEndian.PutUint32(b[len(magic):], checksum(b[header:]))
		}
		got, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Encode(got)
		if err != nil {
			return
		}
		if _, err := Decode(again); err != nil {
			t.Errorf("%q was read and not read again: %v", b, err)
		}
	})
}
