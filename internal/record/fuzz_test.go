package record

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

// allocated returns how many bytes f allocates, and what else does meanwhile.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// inProportion fails if f allocates out of proportion to an input of n bytes.
func inProportion(t *testing.T, n int, f func()) {
	t.Helper()
	const slack = 1 << 20 // buffers, and what the fuzzer does beside
	if got := allocated(f); got > 64*uint64(n)+slack {
		t.Errorf("%d bytes allocated for an input of %d", got, n)
	}
}

// TestMuchOfLittle reads large inputs of the smallest parts there are.
func TestMuchOfLittle(t *testing.T) {
	key := rollcall.NewKey("n", "s", "i")
	many := func(part ...byte) string { return strings.Repeat(string(part), 200_000) }
	for name, read := range map[string]func(s string){
		"port":       func(s string) { Unpack(key, rollcall.Record(s)) },
		"capability": func(s string) { Unpack(key, rollcall.Record(s)) },
		"check":      func(s string) { Unpack(key, rollcall.Record(s)) },
		"change":     func(s string) { ParseEntry(s) },
		"the least":  func(s string) { ParseEntry("\x08\x01" + s) },
		"id":         func(s string) { ParseChange("\x30\x02\x3a\x00\x3a\x00\x3a\x00\x42\xc0\x9a\x0c" + s) },
		"key":        func(s string) { ParseChange("\x30\x64" + s) },
		"split":      func(s string) { ParseChange("\x30\x05\x3a\x00\x3a\x00\x42\x80\xb5\x18" + s) },
		"failover":   func(s string) { ParseChange("\x30\x05\x3a\x00\x3a\x00\x42\x80\xb5\x18" + s) },
		"page": func(s string) {
			readAll(bytes.NewReader(rebuilt(framesOf(t, small(t))[0], frame{typ: 'P', payload: []byte(s)})))
		},
	} {
		s := map[string]string{
			"port": many(0x22, 0), "capability": many(0x5a, 0), "check": many(0x8a, 1, 0), "change": many(0x1a, 0),
			"the least": many(0x1a, 4, 0x30, 0x64, 0x3a, 0), "id": many(0x1a, 0), "key": many(0x3a, 0), "page": many(0x0a, 0), "split": many(0x32, 0), "failover": many(0x3a, 0),
		}[name]
		t.Run(name, func(t *testing.T) { inProportion(t, len(s), func() { read(s) }) })
	}
}

func FuzzUnpack(f *testing.F) {
	i := typical()
	f.Add([]byte(Pack(&i)))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0x5a, 0x00}, 10))
	f.Fuzz(func(t *testing.T, b []byte) {
		key := rollcall.NewKey("n", "s", "i")
		r := rollcall.Record(b)
		var i rollcall.Instance
		var err error
		inProportion(t, len(b), func() { i, err = Unpack(key, r) })
		var shown []byte
		inProportion(t, len(b), func() { shown = written(key, r, &Added{}) })
		if p := i.Position; err == nil && (p == nil || math.Abs(p.Lat) <= 90 && math.Abs(p.Lon) <= 180) && !json.Valid(shown) {
			t.Errorf("AppendJSON: %s", shown)
		}
		inProportion(t, len(b), func() {
			Lease(r)
			Checks(r)
			Place(r)
			ServiceName(r)
			Capability(r, "gpu")
			Metadata(r, "team")
			Port(r, "http")
			Weight(r)
			Locality(r)
			for _, p := range Capabilities(r) {
				p.Len()
			}
		})
		if err != nil {
			return
		}
		// What was taken has a canonical form, which reads the same.
		again := Pack(&i)
		j, err := Unpack(i.Key(), again)
		if err != nil {
			t.Fatalf("%x: %v", again, err)
		}
		if third := Pack(&j); third != again {
			t.Errorf("packed as %x, then as %x", again, third)
		}
	})
}

func FuzzParseChange(f *testing.F) {
	for _, g := range append(goldens(), later()...) {
		f.Add(AppendChange(nil, &g.change))
	}
	f.Add([]byte{0x30, 0x64, 0x3a, 0x00, 0x42, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c rollcall.Change
		var err error
		inProportion(t, len(b), func() { c, err = ParseChange(string(b)) })
		if err != nil {
			return
		}
		again := AppendChange(nil, &c)
		d, err := ParseChange(string(again))
		if err != nil {
			t.Fatalf("%x: %v", again, err)
		}
		if third := AppendChange(nil, &d); !bytes.Equal(third, again) {
			t.Errorf("written as %x, then as %x", again, third)
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	for _, g := range goldens() {
		f.Add(AppendEntry(nil, 812, 3, []rollcall.Change{g.change}))
	}
	f.Add(AppendEntry(nil, 812, 0, goldenChanges()))
	f.Add([]byte{0x1a, 0x00, 0x1a, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		var e rollcall.Entry
		var fence rollcall.Fence
		var err error
		inProportion(t, len(b), func() { e, fence, err = ParseEntry(string(b)) })
		if err != nil {
			return
		}
		again := AppendEntry(nil, e.Revision, fence, e.Changes)
		d, _, err := ParseEntry(string(again))
		if err != nil {
			t.Fatalf("%x: %v", again, err)
		}
		if third := AppendEntry(nil, d.Revision, fence, d.Changes); !bytes.Equal(third, again) {
			t.Errorf("written as %x, then as %x", again, third)
		}
	})
}

// FuzzReader is given files, and files whose checksums are made to be right.
func FuzzReader(f *testing.F) {
	f.Add(small(f), false)
	f.Add(rebuilt(frame{typ: 'H'}), false)
	for _, fr := range framesOf(f, small(f)) {
		f.Add(fr.payload, true)
	}
	f.Add([]byte{0x0a, 0x00, 0x0a, 0x00}, true)
	f.Fuzz(func(t *testing.T, b []byte, page bool) {
		if page {
			fs := framesOf(t, small(t))
			fs[1].payload = b
			b = rebuilt(fs...)
		}
		var cs []rollcall.Change
		var h Header
		var err error
		inProportion(t, len(b), func() { h, cs, err = readAll(bytes.NewReader(b)) })
		if err == io.EOF {
			t.Error("the end came before the end")
		}
		if err != nil {
			return
		}
		h2, cs2, err := readAll(bytes.NewReader(state(t, h, slices.Values(cs))))
		if err != nil || h2 != h || !cmp.Equal(cs, cs2) {
			t.Errorf("%+v with %+v becomes %+v with %+v, %v", h, cs, h2, cs2, err)
		}
	})
}
