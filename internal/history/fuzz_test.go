package history

import (
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// inProportion fails if f allocates out of proportion to an input of n bytes,
// beside what a block may have.
func inProportion(t *testing.T, n int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 64*uint64(n)+4*maxText+4<<20 {
		t.Errorf("%d bytes allocated for an input of %d", got, n)
	}
}

// FuzzEntry: what parses, parses again as the same once it is written.
func FuzzEntry(f *testing.F) {
	for n := range 3 {
		e := event(n)
		f.Add(string(appendEntry(nil, &e, "")[lengthSize:]))
	}
	f.Add("\x10\x00\x18\xff\xff\xff\xff\x0f")
	f.Fuzz(func(t *testing.T, s string) {
		var e Entry
		var err error
		inProportion(t, len(s), func() { e, err = parseEntry(s, logA) })
		if err != nil {
			return
		}
		message, rest, ok := cut(string(appendEntry(nil, &e, logB)))
		again, err := parseEntry(message, logB)
		if diff := cmp.Diff(e, again); !ok || rest != "" || err != nil || diff != "" {
			t.Errorf("%v, %v\n%s", ok, err, diff)
		}
		e.key()
		stamp(e.At)
	})
}

// FuzzFile reads the content of a file: frames, and the blocks in them.
func FuzzFile(f *testing.F) {
	p, err := newPacker()
	if err != nil {
		f.Fatal(err)
	}
	h := open(f, "", 0)
	fill(h, 0, 3)
	b := h.open.finished()
	b.services, b.ids = []uint32{1, 2, 3}, []uint32{4}
	text := []byte(*b.raw.Load())
	raw, _ := appendFrame([]byte(fileHead), b, codecNone, text)
	f.Add(raw)
	both, _ := appendFrame(raw, b, codecZstd, p.enc.EncodeAll(text, nil))
	f.Add(both)
	f.Add(both[:len(both)-1])
	f.Fuzz(func(t *testing.T, data []byte) {
		inProportion(t, len(data), func() {
			end := scan(data, 0, func(b *block) {
				body := data[b.at.off : b.at.off+int64(b.at.size)]
				if text, err := p.unpack(b, body); err == nil {
					each(b, text, func(int, *Entry) {})
				}
			})
			if end > len(data) {
				t.Errorf("ends at %d of %d", end, len(data))
			}
		})
	})
}

// FuzzBlock reads what a frame holds, with the checksums left out: a head, and
// a body in it.
func FuzzBlock(f *testing.F) {
	p, err := newPacker()
	if err != nil {
		f.Fatal(err)
	}
	h := open(f, "", 0)
	fill(h, 0, 3)
	b := h.open.finished()
	text := []byte(*b.raw.Load())
	for codec, body := range [][]byte{text, p.enc.EncodeAll(text, nil)} {
		frame, at := appendFrame(nil, b, byte(codec), body)
		f.Add(string(frame[frameFore:at.off-crcSize]), body)
	}
	f.Add("\x08\x01\x10\x01\x18\x01\x28\xff\xff\x40", p.enc.EncodeAll(make([]byte, 1<<26), nil))
	f.Fuzz(func(t *testing.T, head string, body []byte) {
		inProportion(t, len(head)+len(body), func() {
			b, err := parseHead(head)
			if err != nil {
				return
			}
			if text, err := p.unpack(b, body); err == nil {
				each(b, text, func(int, *Entry) {})
				var c cache
				c.read(b, func(*block) (string, error) { return text, nil })
			}
			frame, _ := appendFrame(nil, b, b.at.codec, body)
			again, n := parseFrame(frame)
			if n != len(frame) || again == nil {
				t.Fatalf("a frame of %d bytes is read as one of %d", len(frame), n)
			}
			if diff := cmp.Diff([][]uint32{b.services, b.ids}, [][]uint32{again.services, again.ids}, cmpopts.EquateEmpty()); diff != "" ||
				again.first != b.first || again.count != b.count || again.size != b.size || again.log != b.log ||
				again.min != b.min || again.max != b.max || again.high != b.high || again.gap != b.gap {
				t.Errorf("%+v is read as %+v", b, again)
			}
		})
	})
}
