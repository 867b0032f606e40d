package local

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	walrecord "github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/store/storetest"
)

// contents returns what is in a disk's files.
func (d *disk) contents() map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	files := map[string][]byte{}
	for name, i := range d.files {
		files[name] = slices.Clone(i.data)
	}
	return files
}

// refused expects that a log with these files does not open, because of damage
// unless reason says something else, and that nothing is touched.
func refused(t *testing.T, files map[string][]byte, file, reason string) {
	t.Helper()
	d := newDisk(files)
	l, err := Open("data", Options{FS: d.view()})
	if err == nil {
		l.Close()
		t.Fatalf("it opens, at revision %d", l.feed.End().Entry.Revision)
	}
	if reason == "" && !errors.Is(err, record.ErrDamaged) || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), reason) {
		t.Errorf("error %v; want one that names %s and says %q", err, file, reason)
	}
	if !reflect.DeepEqual(d.contents(), files) {
		t.Errorf("the files are not what they were")
	}
}

// written makes a log of some groups, and returns its files and where in the
// segment the last group begins. The groups cross the borders of blocks.
func written(t *testing.T, closed bool) (files map[string][]byte, want []storetest.Model, lastAt int) {
	d := newDisk(nil)
	v := d.view()
	l := open(t, "data", Options{FS: v})
	for i := range 12 {
		lastAt = len(d.contents()["000001.log"])
		size := 100 * i
		if i%5 == 2 {
			size = 20_000
		}
		appendOne(t, l, instance(fmt.Sprint(i), strings.Repeat("x", size)))
		want = append(want, state(t, l))
	}
	if closed {
		l.Close()
	}
	v.dead.Store(true)
	return d.contents(), want, lastAt
}

// TestFlippedBit: wherever a bit changes in what was acknowledged, the log does
// not open; only in the last group of a log that was not closed, damage and a
// torn end look alike.
func TestFlippedBit(t *testing.T) {
	for _, closed := range []bool{false, true} {
		files, want, lastAt := written(t, closed)
		log := files["000001.log"]
		end := lastAt
		if closed {
			end = len(log) - 11 - chunkHeader - groupHeader // the closing record, and the trailer
		}
		random := rand.New(rand.NewPCG(1, 0))
		for at := 0; at < len(log); at++ {
			if at < lastAt && (at > 2000 || testing.Short()) && random.IntN(50) > 0 {
				continue
			}
			if left := blockSize - at%blockSize; left < chunkHeader {
				continue // nobody reads what fills up a block
			}
			bad := maps.Clone(files)
			bad["000001.log"] = slices.Clone(log)
			bad["000001.log"][at] ^= 1 << random.IntN(8)
			if at < end {
				refused(t, bad, "000001.log", "")
			} else {
				l, err := Open("data", Options{FS: newDisk(bad).view()})
				if err != nil {
					t.Fatalf("byte %d of %d: %v", at, len(log), err)
				}
				if last, state, err := read(l); err != nil || !reflect.DeepEqual(state, want[last-1]) || last < len(want)-1 || closed && last < len(want) {
					t.Fatalf("byte %d: at revision %d: %v", at, last, err)
				}
				l.Close()
			}
			if t.Failed() {
				t.Fatalf("byte %d of %d, closed %v", at, len(log), closed)
			}
		}
	}
}

// TestMissing: what is missing is missed, and what is foreign is refused.
func TestMissing(t *testing.T) {
	d := newDisk(nil)
	l := open(t, "data", Options{FS: d.view(), SegmentSize: 1})
	last := rollcall.Revision(0)
	for i := range 6 {
		if i == 3 {
			if err := l.Checkpoint(background, last, state(t, l).Changes()); err != nil {
				t.Fatal(err)
			}
		}
		last = appendOne(t, l, instance(fmt.Sprint(i), "1"))
	}
	l.Close()
	good := d.contents()
	const checkpoint = "checkpoint-00000000000000000003-000004"
	if got := slices.Sorted(maps.Keys(good)); !slices.Equal(got, []string{
		"000004.log", "000005.log", "000006.log", "000007.log", checkpoint, "log.json"}) {
		t.Fatalf("files %q", got)
	}
	other, _, _ := written(t, true)
	for _, test := range []struct {
		name   string
		change func(map[string][]byte)
		file   string
		reason string
	}{
		{"first segment", func(f map[string][]byte) { delete(f, "000004.log") }, "000005.log", "entry 5 where 4 should be"},
		{"middle segment", func(f map[string][]byte) { delete(f, "000005.log") }, "000006.log", "entry 6 where 5 should be"},
		{"empty segment", func(f map[string][]byte) { f["000005.log"] = nil }, "000006.log", "entry 6 where 5 should be"},
		{"cut segment", func(f map[string][]byte) { f["000005.log"] = f["000005.log"][:50] }, "000006.log", "entry 6 where 5 should be"},
		{"exchanged segments", func(f map[string][]byte) { f["000005.log"] = f["000006.log"] }, "000006.log", ""},
		{"checkpoint", func(f map[string][]byte) { delete(f, checkpoint) }, "000004.log", "entry 4 where 1 should be"},
		{"cut checkpoint", func(f map[string][]byte) { f[checkpoint] = f[checkpoint][:100] }, checkpoint, ""},
		{"flipped checkpoint", func(f map[string][]byte) {
			f[checkpoint] = slices.Clone(f[checkpoint])
			f[checkpoint][70] ^= 1
		}, checkpoint, ""},
		{"renamed checkpoint", func(f map[string][]byte) {
			f["checkpoint-00000000000000000004-000004"] = f[checkpoint]
		}, "checkpoint-00000000000000000004-000004", "restore a backup"},
		{"foreign checkpoint", func(f map[string][]byte) { f["log.json"] = other["log.json"] }, checkpoint, "restore a backup"},
		{"identity", func(f map[string][]byte) { delete(f, "log.json") }, "log.json", "put it back"},
		{"empty identity", func(f map[string][]byte) { f["log.json"] = nil }, "log.json", ""},
		{"newer directory", func(f map[string][]byte) { f["log.json"] = []byte(`{"format":2,"more":{}}`) }, "log.json", "run the version that wrote it"},
		{"newer record", func(f map[string][]byte) { f["000007.log"] = newerRecord(t) }, "000007.log", "run the version that wrote it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			files := maps.Clone(good)
			test.change(files)
			refused(t, files, test.file, test.reason)
		})
	}
}

// newerRecord returns segment 7 with one record, of a format to come.
func newerRecord(t *testing.T) []byte {
	b := beginGroup(nil, 7)
	b[groupHeader-1] = record.Format + 1
	d := newDisk(nil)
	writeSegment(t, d.view(), 7, [][]byte{b})
	return d.contents()["000007.log"]
}

// writeSegment has Pebble write a segment of the given records, each synced.
func writeSegment(t testing.TB, fs vfs.FS, num wal.NumWAL, records [][]byte) {
	t.Helper()
	m, err := wal.Init(wal.Options{
		Primary:             wal.Dir{FS: fs, Dirname: "data"},
		PreallocateSize:     func() int { return 0 },
		WriteWALSyncOffsets: func() bool { return true },
		FsyncLatency:        prometheus.NewHistogram(prometheus.HistogramOpts{}),
		EventListener:       engineLog{},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := m.Create(num, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range records {
		var done sync.WaitGroup
		done.Add(1)
		if _, err := w.WriteRecord(b, wal.SyncOptions{Done: &done, Err: &err}, nil); err != nil {
			t.Fatal(err)
		}
		if done.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	m.Close()
}

// TestChunks reads what Pebble writes, whole and cut anywhere, with the reader
// here and with Pebble's.
func TestChunks(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		var records [][]byte
		for i := range 1 + random.IntN(20) {
			b := beginGroup(nil, rollcall.Revision(i+1)) // Pebble's reader wants a header
			n := random.IntN(200)
			if random.IntN(3) == 0 {
				// To all places around the border of a block.
				n = blockSize - 60 + random.IntN(120)
			}
			for range n {
				b = append(b, byte(random.Uint32()))
			}
			records = append(records, b)
		}
		d := newDisk(nil)
		writeSegment(t, d.view(), 1, records)
		whole := d.contents()["000001.log"]
		cuts := []int{len(whole)}
		for range 50 {
			cuts = append(cuts, random.IntN(len(whole)+1))
		}
		for _, cut := range cuts {
			file := whole[:cut]
			var got [][]byte
			r := chunkReader{r: bytes.NewReader(file), num: 1}
			for {
				b, err := r.next()
				if err != nil {
					t.Fatal(err)
				}
				if b == nil {
					break
				}
				got = append(got, slices.Clone(b))
			}
			want, clean := readPebble(t, file)
			if !slices.EqualFunc(got, want, bytes.Equal) || r.torn == clean && cut == len(whole) {
				t.Fatalf("seed %d, cut at %d of %d: %d records, torn %v; Pebble reads %d, clean %v",
					seed, cut, len(whole), len(got), r.torn, len(want), clean)
			}
			if cut == len(whole) && !slices.EqualFunc(got, records, bytes.Equal) {
				t.Fatalf("seed %d: %d records, want %d", seed, len(got), len(records))
			}
			if err := checkEnd(&memoryFile{Reader: bytes.NewReader(file)}, "", 1, r.offset); err != nil {
				t.Fatalf("seed %d, cut at %d of %d: %v", seed, cut, len(whole), err)
			}
		}
	}
}

// memoryFile is a file in memory that is only read.
type memoryFile struct {
	vfs.File
	*bytes.Reader
}

func (f *memoryFile) Read(p []byte) (int, error)             { return f.Reader.Read(p) }
func (f *memoryFile) ReadAt(p []byte, at int64) (int, error) { return f.Reader.ReadAt(p, at) }
func (f *memoryFile) Stat() (vfs.FileInfo, error)            { return size{n: f.Reader.Size()}, nil }

func readPebble(t *testing.T, file []byte) (records [][]byte, clean bool) {
	t.Helper()
	d := newDisk(map[string][]byte{"000001.log": file})
	logs, err := wal.Scan(wal.Dir{FS: d.view(), Dirname: "data"})
	if err != nil {
		t.Fatal(err)
	}
	r := logs[0].OpenForRead()
	defer r.Close()
	for {
		rec, _, err := r.NextRecord()
		if err != nil {
			if err != io.EOF && !errors.Is(err, walrecord.ErrUnexpectedEOF) {
				t.Fatal(err)
			}
			return records, err == io.EOF
		}
		b, err := io.ReadAll(rec)
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, b)
	}
}

// FuzzSegment opens a log whose only segment is arbitrary: as it is, and as the
// record of a segment that is intact.
func FuzzSegment(f *testing.F) {
	f.Add([]byte(nil), false)
	d := newDisk(nil)
	l := open(f, "data", Options{FS: d.view()})
	for i := range 3 {
		l.Append(background, rollcall.Batch{Fence: 3, Changes: []rollcall.Change{instance(fmt.Sprint(i), "1")}})
	}
	l.Close()
	files := d.contents()
	r := chunkReader{r: bytes.NewReader(files["000001.log"]), num: 1}
	for b, _ := r.next(); b != nil; b, _ = r.next() {
		f.Add(slices.Clone(b), true)
	}
	f.Add(files["000001.log"], false)
	f.Fuzz(func(t *testing.T, b []byte, wrap bool) {
		d := newDisk(map[string][]byte{"log.json": files["log.json"], "000001.log": b})
		if wrap {
			writeSegment(t, d.view(), 1, [][]byte{b})
		}
		l, err := Open("data", Options{FS: d.view()})
		if err != nil {
			return
		}
		last, want, err := read(l)
		if err != nil {
			t.Fatalf("it opens, but: %v", err)
		}
		r, err := l.Append(background, rollcall.Batch{Changes: []rollcall.Change{instance("after", "1")}})
		if err != nil || r != rollcall.Revision(last+1) {
			t.Fatalf("Append = %d, %v", r, err)
		}
		want.Apply(noted([]rollcall.Change{instance("after", "1")}, r)[0])
		l.Close()
		l, err = Open("data", Options{FS: d.view()})
		if err != nil {
			t.Fatalf("second start: %v", err)
		}
		defer l.Close()
		if got := state(t, l); len(got) != len(want) {
			t.Fatalf("second start: state %v, want %v", got, want)
		}
	})
}

func FuzzIdentity(f *testing.F) {
	f.Add([]byte(`{"format":1,"id":"0123456789abcdef","created":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"format":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		id, err := parseIdentity(b)
		if err == nil && (id.Format != record.Format || !id.ID.Valid() || id.Created.IsZero()) {
			t.Errorf("%q is read as %+v", b, id)
		}
	})
}
