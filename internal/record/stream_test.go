package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

var header = Header{
	Log: "0123456789abcdef", Created: time.Unix(1_700_000_000, 0).UTC(), Revision: 812, Fence: 3,
	At: time.Unix(1_700_000_100, 5).UTC(),
}

func state(t testing.TB, h Header, changes iter.Seq[rollcall.Change]) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteState(&b, h, changes); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// small is a state file of a few changes of all kinds.
func small(t testing.TB) []byte { return state(t, header, slices.Values(goldenChanges())) }

func readAll(r io.Reader) (h Header, cs []rollcall.Change, err error) {
	rd, err := NewReader(r)
	if err != nil {
		return h, nil, err
	}
	for {
		page, err := rd.Next()
		if err == io.EOF {
			return rd.Header, cs, nil
		}
		if err != nil {
			return rd.Header, cs, err
		}
		cs = append(cs, page...)
	}
}

type frame struct {
	typ     byte
	payload []byte
	end     int // offset in the file
}

func framesOf(t testing.TB, b []byte) (fs []frame) {
	t.Helper()
	for at := len(magic) + 1; at < len(b); {
		n := int(binary.LittleEndian.Uint32(b[at+1:]))
		fs = append(fs, frame{b[at], b[at+5 : at+5+n], at + 9 + n})
		at += 9 + n
	}
	return fs
}

// rebuilt is a state file of frames with right checksums.
func rebuilt(fs ...frame) []byte {
	b := append([]byte(magic), Format)
	for _, f := range fs {
		at := len(b)
		b = append(b, f.typ)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f.payload)))
		b = append(b, f.payload...)
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
	}
	return b
}

func TestStateRoundTrip(t *testing.T) {
	g := newGenerator(t)
	for _, n := range []int{0, 1, 10, 2000} {
		var want []rollcall.Change
		for range n {
			want = append(want, g.change())
		}
		b := state(t, header, slices.Values(want))
		for name, r := range map[string]io.Reader{
			"at once": bytes.NewReader(b), "by bytes": iotest.OneByteReader(bytes.NewReader(b)), "with the end": iotest.DataErrReader(bytes.NewReader(b)),
		} {
			h, got, err := readAll(r)
			if err != nil || h != header {
				t.Fatalf("%d changes, read %s: %+v, %v", n, name, h, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%d changes, read %s:\n%s", n, name, diff)
			}
		}
		if n > 1000 && len(framesOf(t, b)) < 4 {
			t.Errorf("%d bytes went into one page", len(b))
		}
	}
}

// TestStateCutShort cuts a file off at every byte.
func TestStateCutShort(t *testing.T) {
	b := small(t)
	for n := range b {
		if _, _, err := readAll(bytes.NewReader(b[:n])); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut off at %d of %d: %v", n, len(b), err)
		}
	}
}

// TestStateAltered flips bits of every byte of a file.
func TestStateAltered(t *testing.T) {
	b := small(t)
	for n := range b {
		for _, flip := range []byte{1, 255} {
			damaged := slices.Clone(b)
			damaged[n] ^= flip
			_, _, err := readAll(bytes.NewReader(damaged))
			if err == nil {
				t.Fatalf("byte %d of %d flipped by %#x is not found out", n, len(b), flip)
			}
			if n != len(magic) && !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d of %d flipped by %#x: %v", n, len(b), flip, err)
			}
		}
	}
}

func TestStateRefuses(t *testing.T) {
	b := small(t)
	fs := framesOf(t, b)
	head, page, end := fs[0], fs[1], fs[len(fs)-1]
	if !bytes.Equal(rebuilt(fs...), b) {
		t.Fatal("the test does not know the format")
	}
	bad := func(f frame, payload string) frame { return frame{typ: f.typ, payload: []byte(payload)} }
	format := slices.Clone(b)
	format[len(magic)] = 2
	for _, tt := range []struct {
		name    string
		file    []byte
		damaged bool
		says    string
	}{
		{"an empty file", nil, true, "not a Rollcall backup"},
		{"another file", []byte(strings.Repeat("PK\x03\x04", 100)), true, "not a Rollcall backup"},
		{"another format", format, false, "format 2"},
		{"trailing data", append(slices.Clone(b), 0), true, "follows its end"},
		{"two files", append(slices.Clone(b), b...), true, "follows its end"},
		{"a page missing", rebuilt(head, end), true, "should hold"},
		{"a page twice", rebuilt(head, page, page, end), true, "should hold"},
		{"two headers", rebuilt(head, head, page, end), true, "unknown frame"},
		{"no header", rebuilt(page, end), true, "no header"},
		{"no end", rebuilt(head, page), true, "cut short"},
		{"a frame of another type", rebuilt(head, frame{typ: 'X'}, page, end), true, "unknown frame"},
		{"a header without a log", rebuilt(bad(head, ""), page, end), true, "bad header"},
		{"a broken header", rebuilt(bad(head, "\x0a"), page, end), true, "bad header"},
		{"a broken page", rebuilt(head, bad(page, "\x0a"), end), true, "malformed"},
		{"a broken change", rebuilt(head, bad(page, "\x0a\x00"), end), true, "malformed"},
		{"an end that says nothing", rebuilt(head, page, bad(end, "")), true, "should hold"},
		{"an endless frame", append(slices.Clone(b[:len(magic)+1]), 'H', 0xff, 0xff, 0xff, 0xff), true, "a frame of"},
	} {
		_, _, err := readAll(bytes.NewReader(tt.file))
		if err == nil || errors.Is(err, ErrDamaged) != tt.damaged || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v; want damaged %v and %q", tt.name, err, tt.damaged, tt.says)
		}
	}
}

// TestStateWithUnknownFields takes in what a later version adds.
func TestStateWithUnknownFields(t *testing.T) {
	g := newGenerator(t)
	fs := framesOf(t, small(t))
	for i := range fs {
		fs[i].payload = g.extra(slices.Clone(fs[i].payload))
	}
	h, got, err := readAll(bytes.NewReader(rebuilt(fs...)))
	if diff := cmp.Diff(goldenChanges(), got); err != nil || h != header || diff != "" {
		t.Errorf("%+v, %v\n%s", h, err, diff)
	}
}

// TestReadErrors: what the disk says is not "damaged".
func TestReadErrors(t *testing.T) {
	b := small(t)
	broken := errors.New("input/output error")
	for _, n := range []int{9, 12, 60, len(b) - 1, len(b)} {
		_, _, err := readAll(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(broken)))
		if !errors.Is(err, broken) {
			t.Errorf("an error behind %d of %d bytes is reported as %v", n, len(b), err)
		}
	}
}

func TestWriteErrors(t *testing.T) {
	g := newGenerator(t)
	var cs []rollcall.Change
	for range 3000 {
		cs = append(cs, g.change())
	}
	whole := len(state(t, header, slices.Values(cs)))
	for _, n := range []int{0, 1, 70 << 10, 300 << 10, whole - 1} {
		w := &fullDisk{left: n}
		if err := WriteState(w, header, slices.Values(cs)); !errors.Is(err, errFull) {
			t.Errorf("with room for %d of %d bytes: %v", n, whole, err)
		}
	}
	if err := WriteState(&fullDisk{left: whole}, header, slices.Values(cs)); err != nil {
		t.Error(err)
	}
}

var errFull = errors.New("no space left on device")

type fullDisk struct{ left int }

func (d *fullDisk) Write(b []byte) (int, error) {
	if len(b) > d.left {
		n := d.left
		d.left = 0
		return n, errFull
	}
	d.left -= len(b)
	return len(b), nil
}

// TestAClaimAllocatesLittle: a length alone is no reason to make room for it.
func TestAClaimAllocatesLittle(t *testing.T) {
	b := small(t)[:len(magic)+1]
	b = append(b, 'H')
	b = binary.LittleEndian.AppendUint32(b, maxFrame)
	got := allocated(func() {
		if _, err := NewReader(bytes.NewReader(b)); !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
	})
	if got > 1<<20 {
		t.Errorf("a file of %d bytes that claims %d made the reader allocate %d", len(b), maxFrame, got)
	}
}
