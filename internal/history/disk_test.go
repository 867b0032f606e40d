package history

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

// files returns the paths of the segments in a data directory.
func files(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "history", "0*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// sealed ends a block with the events from … to-1 and writes it.
func sealed(t *testing.T, h *History, from, to int) {
	t.Helper()
	fill(h, from, to)
	h.mu.Lock()
	h.seal()
	h.mu.Unlock()
	if !h.flush() {
		t.Fatal("not written")
	}
}

// change changes a file's content.
func change(t *testing.T, path string, do func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, do(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryFieldSurvives a restart, from the tail and from a segment.
func TestEveryFieldSurvives(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, 0)
	e := Entry{Log: logA, Image: "\x00\xff image", Event: rollcall.Event{
		Revision: 1 << 60, At: epoch.Add(123_456_789), Type: "health", Namespace: "Default", Service: "Payments", ID: "p-1",
		Before: rollcall.Healthy, After: rollcall.Unhealthy, By: "anna", Via: "http", Why: "lease: lapsed",
	}}
	none := Entry{Log: logA, Event: rollcall.Event{Type: "other"}}
	far := Entry{Log: logA, Event: rollcall.Event{Type: "far", At: time.Date(9999, 1, 2, 3, 4, 5, 6, time.UTC)}}
	h.Add(e, none, far)
	h.flush()
	for _, from := range []string{"tail", "segment"} {
		h.Close()
		h = open(t, dir, 0)
		got, _, err := h.Events(rollcall.EventFilter{}, "", 10)
		if diff := cmp.Diff([]rollcall.Event{far.Event, none.Event, e.Event}, got); err != nil || diff != "" {
			t.Errorf("from the %s: %v\n%s", from, err, diff)
		}
		h.flush() // into a segment
	}
	before, b, err := h.undo(h.view(), epoch, rollcall.ServiceKey{})
	if err != nil || before[rollcall.NewKey("default", "payments", "p-1")] != e.Image {
		t.Errorf("%q, %v, %v", before, b, err)
	}
}

// TestKilled: what the last flush wrote is there, whatever became of the rest.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, 0)
	total := 0
	for _, more := range []int{1, 1, 50, 3000, 1, 700} {
		fill(h, total, total+more)
		total += more
		if !h.flush() {
			t.Fatal("not written")
		}
		fill(h, total, total+5) // and is killed
		h = open(t, dir, 0)
		if got := list(t, h, rollcall.EventFilter{}, 500); !slices.Equal(got, down(total, 0)) {
			t.Fatalf("%d events of %d", len(got), total)
		}
		if log, rev := h.Last(); log != logA || int(rev) != total {
			t.Errorf("the last is %s at %d, want %d", log, rev, total)
		}
		fill(h, max(0, total-100), total) // the log is read again
		if h.Len() != total {
			t.Fatalf("%d entries, want %d", h.Len(), total)
		}
	}
}

// TestCutRevision: a revision of which only a part was written is completed,
// and nothing of it is there twice.
func TestCutRevision(t *testing.T) {
	revision := make([]Entry, 3*blockSize/1000)
	for i := range revision {
		revision[i] = at(2, 2, strings.Repeat("x", i), strings.Repeat("y", 1000-i))
	}
	revision = append(revision, revision[0]) // two checks failed at once, say
	for _, cut := range []int{1, 2, len(revision) / 2, len(revision)} {
		dir := t.TempDir()
		h := open(t, dir, 0)
		h.Add(at(1, 1, "", "before"))
		h.Add(revision[:cut]...)
		h.flush()
		h = open(t, dir, 0)
		if _, rev := h.Last(); rev != 2 {
			t.Errorf("cut at %d, the last is %d", cut, rev)
		}
		for range 2 {
			h.Add(at(1, 1, "", "before"))
			h.Add(revision...)
			if n := h.Len(); n != len(revision)+1 {
				t.Fatalf("cut at %d: %d entries, want %d", cut, n, len(revision)+1)
			}
			h.flush()
			h = open(t, dir, 0)
		}
	}
}

func TestTornTail(t *testing.T) {
	for what, do := range map[string]func(b []byte) []byte{
		"cut":       func(b []byte) []byte { return b[:len(b)-3] },
		"rubbish":   func(b []byte) []byte { return append(b, "hist and more"...) },
		"zeroes":    func(b []byte) []byte { return append(b, make([]byte, 5000)...) },
		"head":      func(b []byte) []byte { return b[:5] },
		"nothing":   func(b []byte) []byte { return nil },
		"a bit":     func(b []byte) []byte { b[len(b)-20] ^= 4; return b },
		"half gone": func(b []byte) []byte { clear(b[len(b)/2:]); return b },
	} {
		for _, file := range []string{tailName, name(1)} {
			t.Run(what+" of "+file, func(t *testing.T) {
				dir := t.TempDir()
				h := open(t, dir, 0)
				sealed(t, h, 0, 20)
				sealed(t, h, 20, 40)
				fill(h, 40, 50)
				h.flush()
				h.Close()
				change(t, filepath.Join(dir, "history", file), do)
				h = open(t, dir, 0)
				st, err := os.Stat(files(t, dir)[0])
				if s := h.disk.current; err != nil || s != nil && st.Size() != s.end {
					t.Errorf("%d bytes are left, %v", st.Size(), err)
				}
				fill(h, 0, 60) // what is left is not added twice
				for range 2 {
					got := slices.DeleteFunc(list(t, h, rollcall.EventFilter{}, 7), func(n int) bool { return n < 0 })
					if !slices.IsSortedFunc(got, func(a, b int) int { return b - a }) || got[0] != 59 || len(slices.Compact(got)) != len(got) {
						t.Errorf("%v", got)
					}
					if file == tailName && len(got) != 60 {
						t.Errorf("%d events; the log had them all", len(got))
					}
					h.flush()
					h.Close()
					h = open(t, dir, 0)
				}
			})
		}
	}
}

// TestDamage: a damaged block is passed over, and a gap that stays one.
func TestDamage(t *testing.T) {
	for _, when := range []string{"before it is opened", "while it is open"} {
		for _, where := range []string{"body", "head", "length"} {
			t.Run(where+" "+when, func(t *testing.T) {
				dir := t.TempDir()
				var said bytes.Buffer
				h := open(t, dir, 0)
				for n := 0; n < 50; n += 10 {
					sealed(t, h, n, n+10)
				}
				b := h.blocks[2]
				at := map[string]int64{"body": b.at.off + 3, "head": b.at.off - 9, "length": h.blocks[1].at.off + int64(h.blocks[1].at.size) + 5}[where]
				damage := func() { change(t, files(t, dir)[0], func(b []byte) []byte { b[at] ^= 1; return b }) }
				if when == "while it is open" {
					if where != "body" {
						t.Skip("is not read again")
					}
					damage()
					h.logger = slog.New(slog.NewTextHandler(&said, nil))
					known(t, h, second(29))
					if n := strings.Count(said.String(), "cannot be read"); n != 1 {
						t.Errorf("said %d times: %s", n, &said)
					}
				}
				h.Close()
				if when != "while it is open" {
					damage()
				}
				h = open(t, dir, 0)
				want := slices.Concat(down(50, 30), []int{-1}, down(20, 0))
				for _, limit := range []int{1, 20, 21, 100} {
					if got := list(t, h, rollcall.EventFilter{}, limit); !slices.Equal(got, want) {
						t.Errorf("in pages of %d: %v", limit, got)
					}
				}
				known(t, h, second(29))
				fill(h, 40, 60)
				if got := list(t, h, rollcall.EventFilter{}, 100); got[0] != 59 || len(got) != 51 {
					t.Errorf("with more: %v", got)
				}
			})
		}
	}
}

// TestNewestIsDamaged: nothing behind the gap says that it is one.
func TestNewestIsDamaged(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, 0)
	sealed(t, h, 0, 10)
	sealed(t, h, 10, 20)
	change(t, files(t, dir)[0], func(b []byte) []byte { b[h.blocks[1].at.off+3] ^= 1; return b })
	if got := list(t, h, rollcall.EventFilter{}, 100); !slices.Equal(got, down(10, 0)) {
		t.Errorf("%v", got) // found out only now
	}
	if got := list(t, h, rollcall.EventFilter{}, 100); !slices.Equal(got, append([]int{-1}, down(10, 0)...)) {
		t.Errorf("%v", got)
	}
	known(t, h, second(19))
}

// TestBound: the oldest segments go, and what is left is whole.
func TestBound(t *testing.T) {
	const most = 200 << 10
	dir := t.TempDir()
	h := open(t, dir, most)
	total := 0
	for range 100 {
		sealed(t, h, total, total+400)
		total += 400
		if got := h.Bytes(); got > most {
			t.Fatalf("%d bytes", got)
		}
	}
	check := func() {
		t.Helper()
		n := h.Len()
		if n > total-800 || n < 1000 {
			t.Errorf("%d entries are kept", n)
		}
		if got := list(t, h, rollcall.EventFilter{}, 777); !slices.Equal(got, down(total, total-n)) {
			t.Errorf("%d events of %d", len(got), n)
		}
		known(t, h, second(total-n-1))
		size := int64(0)
		for _, name := range files(t, dir) {
			st, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if size += st.Size(); st.Mode() != 0o600 {
				t.Errorf("%s has mode %v", name, st.Mode())
			}
		}
		if got := h.Bytes(); size > most || got < size || got > size+100 {
			t.Errorf("%d bytes of files, and %d are said", size, got)
		}
	}
	check()
	h.Close()
	h = open(t, dir, most)
	check()
	sealed(t, h, total, total+400)
	total += 400
	check()
}

// TestFullDisk: history waits in memory, says so once, and goes on when it can.
func TestFullDisk(t *testing.T) {
	for name, fail := range map[string]func(d *disk) (restore func()){
		"write": func(d *disk) func() {
			was := d.write
			d.write = func(f *os.File, b []byte, at int64) error {
				was(f, b[:len(b)/2], at)
				return errors.New("no space left")
			}
			return func() { d.write = was }
		},
		"sync of segments": func(d *disk) func() {
			was := d.sync
			d.sync = func(f *os.File) error {
				if filepath.Base(f.Name()) != tailName {
					return errors.New("no space left")
				}
				return was(f)
			}
			return func() { d.sync = was }
		},
		"sync": func(d *disk) func() {
			was := d.sync
			d.sync = func(*os.File) error { return errors.New("no space left") }
			return func() { d.sync = was }
		},
		"files are full": func(d *disk) func() {
			was := d.write
			d.write = func(f *os.File, b []byte, at int64) error {
				if string(b) == fileHead {
					return was(f, b, at)
				}
				return errors.New("no space left")
			}
			return func() { d.write = was }
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var said bytes.Buffer
			h := open(t, dir, 0)
			h.logger = slog.New(slog.NewTextHandler(&said, nil))
			sealed(t, h, 0, 100)
			fill(h, 100, 110)
			h.flush()
			restore := fail(h.disk)
			for n := 110; n < 10_000; n += 990 {
				fill(h, n, n+990)
				h.mu.Lock()
				h.seal()
				h.mu.Unlock()
				if h.flush() {
					t.Fatal("it was written")
				}
			}
			if _, rev := h.Last(); rev != 110 {
				t.Errorf("%d is said to be durable", rev)
			}
			if n := strings.Count(said.String(), "\n"); n != 1 {
				t.Errorf("said %d times:\n%s", n, &said)
			}
			if got := list(t, h, rollcall.EventFilter{}, 1000); !slices.Equal(got, down(10_010, 0)) {
				t.Errorf("%d events", len(got))
			}
			if n := len(files(t, dir)); n > 2 {
				t.Errorf("%d files for nothing", n)
			}
			restore()
			if !h.flush() || h.Lost() != 0 || h.Waiting() != 0 || !strings.Contains(said.String(), "written again") {
				t.Errorf("%d lost, %d wait; said: %s", h.Lost(), h.Waiting(), &said)
			}
			h = open(t, dir, 0)
			if got := list(t, h, rollcall.EventFilter{}, 1000); !slices.Equal(got, down(10_010, 0)) {
				t.Errorf("%d events are read back", len(got))
			}
		})
	}
}

// TestFullForTooLong: what cannot wait any longer is a gap, also for later.
func TestFullForTooLong(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, 0)
	sealed(t, h, 0, 10)
	h.most = 3 * blockSize
	was := h.disk.write
	h.disk.write = func(*os.File, []byte, int64) error { return errors.New("no space left") }
	fill(h, 10, 15_000)
	h.flush()
	fill(h, 15_000, 20_000)
	h.disk.write = was
	if h.Waiting() > h.most {
		t.Errorf("%d bytes wait", h.Waiting())
	}
	h.flush()
	lost := int(h.Lost())
	if lost < 1000 {
		t.Fatalf("%d are lost", lost)
	}
	for range 2 {
		got := list(t, h, rollcall.EventFilter{}, 1000)
		if want := slices.Concat(down(20_000, 10+lost), []int{-1}, down(10, 0)); !slices.Equal(got, want) {
			t.Errorf("%d events, want %d", len(got), len(want))
		}
		known(t, h, second(10+lost-1))
		h.Close()
		h = open(t, dir, 0)
	}
}

// TestForeignFiles: what another version wrote, or nobody, is left alone.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, 0)
	sealed(t, h, 0, 10)
	h.Close()
	newer := filepath.Join(dir, "history", name(7))
	for path, content := range map[string]string{
		newer: "ROLLHIST\x02 and what follows", filepath.Join(dir, "history", "notes.txt"): "x",
		filepath.Join(dir, "history", "1"+suffix): "x",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h = open(t, dir, 0)
	sealed(t, h, 10, 20)
	h = open(t, dir, 0)
	if got := list(t, h, rollcall.EventFilter{}, 100); !slices.Equal(got, down(20, 0)) {
		t.Errorf("%v", got)
	}
	if b, err := os.ReadFile(newer); err != nil || !strings.HasPrefix(string(b), "ROLLHIST\x02") {
		t.Errorf("%q, %v", b, err)
	}
	if got := files(t, dir); len(got) != 3 || filepath.Base(got[2]) != name(8) {
		t.Errorf("%v", got)
	}
	if _, err := Open(newer, Options{}); err == nil {
		t.Error("a file was taken for a directory")
	}
}

// TestWrittenTwice: a block that was written once more after a failure counts
// once.
func TestWrittenTwice(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, 0)
	sealed(t, h, 0, 10)
	b, err := os.ReadFile(files(t, dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	sealed(t, h, 10, 20)
	h.Close()
	if err := os.WriteFile(filepath.Join(dir, "history", name(2)), b, 0o600); err != nil {
		t.Fatal(err)
	}
	h = open(t, dir, 0)
	sealed(t, h, 20, 30)
	h = open(t, dir, 0)
	if log, rev := h.Last(); log != logA || rev != 30 {
		t.Errorf("the last is %s at %d", log, rev)
	}
	if got := list(t, h, rollcall.EventFilter{}, 100); !slices.Equal(got, down(30, 0)) {
		t.Errorf("%v", got)
	}
}

// TestTailAlone: what the tail has is there, and numbered as it was, whatever
// became of the segments.
func TestTailAlone(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, 0)
	sealed(t, h, 0, 10)
	fill(h, 10, 15)
	h.flush()
	h.Close()
	if err := os.Remove(files(t, dir)[0]); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		h = open(t, dir, 0)
		if got := list(t, h, rollcall.EventFilter{}, 100); !slices.Equal(got, down(15, 10)) {
			t.Errorf("%v", got)
		}
		known(t, h, second(9))
		h.flush()
		h.Close()
	}
}

// TestTailIsOld: a crash between a block's way into a segment and the tail's
// new beginning leaves it in both.
func TestTailIsOld(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, 0)
	fill(h, 0, 10)
	h.flush()
	path := filepath.Join(dir, "history", tailName)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed(t, h, 10, 20)
	h.Close()
	change(t, path, func([]byte) []byte { return old })
	h = open(t, dir, 0)
	if got := list(t, h, rollcall.EventFilter{}, 100); !slices.Equal(got, down(20, 0)) {
		t.Errorf("%v", got)
	}
}
