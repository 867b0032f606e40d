package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/store"
	"github.com/rollcall-registry/rollcall/internal/store/storetest"
)

// refuse makes a disk refuse an operation on files whose name contains part,
// and returns how to end that.
func (d *disk) refuse(op, part string, err error) (end func()) {
	set := func(f func(op, name string) error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.fail = f
	}
	set(func(o, name string) error {
		if o == op && strings.Contains(name, part) {
			return err
		}
		return nil
	})
	return func() { set(nil) }
}

func appendOne(t *testing.T, l *Log, changes ...rollcall.Change) rollcall.Revision {
	t.Helper()
	r, err := l.Append(background, rollcall.Batch{Changes: changes})
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return r
}

func wantUnavailable(t *testing.T, err error, cause error) {
	t.Helper()
	var e *rollcall.Error
	if !errors.As(err, &e) || e.Kind != rollcall.ErrUnavailable || e.RetryAfter == 0 || !errors.Is(err, cause) ||
		!strings.Contains(e.Detail, "checkpoint") {
		t.Errorf("error %v (%#v); want one that is ErrUnavailable because of %v and says what to do", err, err, cause)
	}
}

// state reads what a log holds.
func state(t *testing.T, l *Log) storetest.Model {
	t.Helper()
	_, m, err := read(l)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func wantState(t *testing.T, l *Log, want storetest.Model) {
	t.Helper()
	if got := state(t, l); !reflect.DeepEqual(got, want) {
		t.Errorf("state\n%v\nwant\n%v", got, want)
	}
}

// TestWriteFails: writes stop, reads go on, nothing of what failed is seen, and
// a checkpoint at the last revision heals it once the cause is gone.
func TestWriteFails(t *testing.T) {
	for _, test := range []struct {
		op    string
		cause error
		hint  string
	}{
		{"write", syscall.ENOSPC, "make room"},
		{"write", syscall.EIO, "mend the disk"},
		{"sync", syscall.EIO, "mend the disk"},
		{"sync", syscall.ENOSPC, "make room"},
	} {
		t.Run(fmt.Sprint(test.op, " ", test.cause), func(t *testing.T) {
			d := newDisk(nil)
			l := open(t, "data", Options{FS: d.view()})
			first := appendOne(t, l, instance("a", "1"), instance("b", "1"))
			last := appendOne(t, l, instance("b", "2"))
			before := state(t, l)
			live := storetest.NewFollower(t.Context(), t, l, last, before)

			end := d.refuse(test.op, ".log", test.cause)
			_, err := l.Append(background, rollcall.Batch{Fence: 9, Changes: []rollcall.Change{
				instance("a", "lost"), instance("c", "lost"),
				{Body: rollcall.InstanceRemove{Key: rollcall.NewKey("", "web", "b")}},
			}})
			wantUnavailable(t, err, test.cause)
			if !strings.Contains(err.Error(), test.hint) || !strings.Contains(err.Error(), "000001.log") {
				t.Errorf("%v does not say %q, or not which file", err, test.hint)
			}
			_, err = l.Append(background, rollcall.Batch{Changes: []rollcall.Change{instance("d", "1")}})
			wantUnavailable(t, err, test.cause)
			wantUnavailable(t, l.Err(), test.cause)
			wantState(t, l, before)

			// Neither an older checkpoint heals it, nor one that does not get to
			// the disk.
			m := storetest.Model{}
			for _, c := range noted([]rollcall.Change{instance("a", "1"), instance("b", "1")}, first) {
				m.Apply(c)
			}
			end()
			if err := l.Checkpoint(background, first, m.Changes()); err != nil {
				t.Fatalf("Checkpoint: %v", err)
			}
			wantUnavailable(t, l.Err(), test.cause)
			end = d.refuse(test.op, "checkpoint", test.cause)
			if err := l.Checkpoint(background, last, before.Changes()); !errors.Is(err, test.cause) {
				t.Errorf("Checkpoint on a full disk: %v", err)
			}
			wantUnavailable(t, l.Err(), test.cause)
			end()
			if err := l.Checkpoint(background, last, before.Changes()); err != nil {
				t.Fatalf("Checkpoint: %v", err)
			}
			if err := l.Err(); err != nil {
				t.Errorf("after the checkpoint: %v", err)
			}
			// The index is what it was: b has its second put, c is absent, and
			// the fence was never seen.
			r, err := l.Append(background, rollcall.Batch{Fence: 1, Changes: []rollcall.Change{instance("c", "1")},
				If: []rollcall.Precondition{
					{Key: rollcall.NewKey("", "web", "a"), Incarnation: first, Revision: first},
					{Key: rollcall.NewKey("", "web", "b"), Incarnation: last, Revision: last},
					{Key: rollcall.NewKey("", "web", "c")},
				}})
			if err != nil || r != last+1 {
				t.Fatalf("after healing: Append = %d, %v", r, err)
			}
			live.ReadTo(r)
			wantState(t, l, live.Model)
			for range 2 {
				if err := l.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				l = open(t, "data", Options{FS: d.view()})
				wantState(t, l, live.Model)
			}
		})
	}
}

// TestTwoGroupsFail: with a group on its way, the one that is formed on top of
// it fails with it, and both are taken back.
func TestTwoGroupsFail(t *testing.T) {
	d := newDisk(nil)
	l := open(t, "data", Options{FS: d.view()})
	first := appendOne(t, l, instance("a", "1"))
	held := make(chan struct{})
	d.held = held
	flying := send(l, []rollcall.Batch{{Changes: []rollcall.Change{instance("a", "2"), instance("b", "1")}}})
	<-held
	forming := send(l, []rollcall.Batch{
		{Changes: []rollcall.Change{instance("b", "2")}, If: []rollcall.Precondition{{Key: rollcall.NewKey("", "web", "b"), Revision: first + 1}}},
		{Changes: []rollcall.Change{instance("b", "3")}, If: []rollcall.Precondition{{Key: rollcall.NewKey("", "web", "b")}}},
	})
	for forming[1].state.Load() == waiting { // until the committer has judged both
		runtime.Gosched()
	}
	d.held = nil
	end := d.refuse("sync", ".log", syscall.EIO)
	held <- struct{}{}
	for _, r := range append(flying, forming...) {
		<-r.done
		wantUnavailable(t, r.err, syscall.EIO)
	}
	end()
	m := state(t, l)
	if err := l.Checkpoint(background, first, m.Changes()); err != nil {
		t.Fatalf("Checkpoint: %v", err)
	}
	r, err := l.Append(background, rollcall.Batch{Changes: []rollcall.Change{instance("c", "1")}, If: []rollcall.Precondition{
		{Key: rollcall.NewKey("", "web", "a"), Revision: first}, {Key: rollcall.NewKey("", "web", "b")},
	}})
	if err != nil || r != first+1 {
		t.Errorf("after healing: Append = %d, %v", r, err)
	}
}

// TestRestartAfterFailedSync: what a failed sync left in memory is read at the
// next start, and must then be on the disk for good.
func TestRestartAfterFailedSync(t *testing.T) {
	d := newDisk(nil)
	d.journal = append(d.journal, event{kind: evBoot, names: map[string]int{}})
	v := d.view()
	l := open(t, "data", Options{FS: v})
	appendOne(t, l, instance("a", "1"))
	end := d.refuse("sync", ".log", syscall.EIO)
	_, err := l.Append(background, rollcall.Batch{Changes: []rollcall.Change{instance("b", "doubtful")}})
	wantUnavailable(t, err, syscall.EIO)
	end()
	v.dead.Store(true)

	l = open(t, "data", Options{FS: d.view()})
	appendOne(t, l, instance("c", "1"))
	want := state(t, l)
	p := platter{}
	for _, e := range d.journal {
		p.apply(e)
	}
	l = open(t, "data", Options{FS: newDisk(p.crash(cut{names: noNames})).view()})
	wantState(t, l, want)
}

// TestOpenOnFullDisk: a log that cannot be written to can be read.
func TestOpenOnFullDisk(t *testing.T) {
	for _, op := range []string{"write", "create", "sync", "rename", "syncdir"} {
		t.Run(op, func(t *testing.T) {
			d := newDisk(nil)
			v := d.view()
			l := open(t, "data", Options{FS: v})
			last := appendOne(t, l, instance("a", "1"))
			want := state(t, l)
			v.dead.Store(true)

			end := d.refuse(op, "", syscall.ENOSPC)
			l = open(t, "data", Options{FS: d.view()})
			wantUnavailable(t, l.Err(), syscall.ENOSPC)
			wantState(t, l, want)
			if _, err := l.Append(background, rollcall.Batch{Changes: []rollcall.Change{instance("b", "1")}}); !errors.Is(err, rollcall.ErrUnavailable) {
				t.Errorf("Append: %v", err)
			}
			end()
			if err := l.Checkpoint(background, last, want.Changes()); err != nil {
				t.Fatalf("Checkpoint: %v", err)
			}
			appendOne(t, l, instance("b", "1"))
			want = state(t, l)
			l.Close()
			wantState(t, open(t, "data", Options{FS: d.view()}), want)
		})
	}
}

// TestFailsBeforeFirst: a log that never took a write heals as well.
func TestFailsBeforeFirst(t *testing.T) {
	d := newDisk(nil)
	l := open(t, "data", Options{FS: d.view()})
	end := d.refuse("sync", ".log", syscall.EIO)
	_, err := l.Append(background, rollcall.Batch{Changes: []rollcall.Change{instance("a", "doubtful")}})
	wantUnavailable(t, err, syscall.EIO)
	end()
	if err := l.Checkpoint(background, 0, storetest.Model{}.Changes()); err != nil {
		t.Fatalf("Checkpoint: %v", err)
	}
	appendOne(t, l, instance("b", "1"))
	want := state(t, l)
	l.Close()
	l = open(t, "data", Options{FS: d.view()})
	wantState(t, l, want)
	if len(want) != 1 {
		t.Errorf("state %v, want b only", want)
	}
}

// TestRotationFails: the group that filled the segment is written, the next one
// is refused.
func TestRotationFails(t *testing.T) {
	d := newDisk(nil)
	l := open(t, "data", Options{FS: d.view(), SegmentSize: 1})
	end := d.refuse("create", ".log", syscall.ENOSPC)
	last := appendOne(t, l, instance("a", "1"))
	_, err := l.Append(background, rollcall.Batch{Changes: []rollcall.Change{instance("b", "1")}})
	wantUnavailable(t, err, syscall.ENOSPC)
	want := state(t, l)
	// While it cannot begin a segment, a checkpoint does not heal it either.
	if err := l.Checkpoint(background, last, want.Changes()); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Checkpoint: %v", err)
	}
	wantState(t, l, want)
	end()
	if err := l.Checkpoint(background, last, want.Changes()); err != nil {
		t.Fatalf("Checkpoint: %v", err)
	}
	appendOne(t, l, instance("c", "1"))
	want = state(t, l)
	l.Close()
	wantState(t, open(t, "data", Options{FS: d.view()}), want)
}

// TestCheckpointFails: the log goes on with the checkpoint it had.
func TestCheckpointFails(t *testing.T) {
	for _, op := range []string{"create", "write", "sync", "rename"} {
		t.Run(op, func(t *testing.T) {
			d := newDisk(nil)
			l := open(t, "data", Options{FS: d.view()})
			r := appendOne(t, l, instance("a", "1"))
			if err := l.Checkpoint(background, r, state(t, l).Changes()); err != nil {
				t.Fatalf("Checkpoint: %v", err)
			}
			r = appendOne(t, l, instance("b", "1"))
			end := d.refuse(op, "checkpoint", syscall.EIO)
			if err := l.Checkpoint(background, r, state(t, l).Changes()); !errors.Is(err, syscall.EIO) {
				t.Errorf("Checkpoint: %v", err)
			}
			end()
			for name := range d.files {
				if strings.HasSuffix(name, tmpSuffix) {
					t.Errorf("%s is left", name)
				}
			}
			appendOne(t, l, instance("c", "1"))
			want := state(t, l)
			l.Close()
			wantState(t, open(t, "data", Options{FS: d.view()}), want)
		})
	}
}

// TestCheckpointInterrupted: neither who waits for a checkpoint nor who closes
// the log has to wait for its end.
func TestCheckpointInterrupted(t *testing.T) {
	d := newDisk(nil)
	l := open(t, "data", Options{FS: d.view()})
	r := appendOne(t, l, instance("a", "1"))
	files := maps.Clone(d.files)
	endless := func(begin func()) func(func(rollcall.Change) bool) {
		return func(yield func(rollcall.Change) bool) {
			begin()
			for i := 0; yield(noted([]rollcall.Change{instance(fmt.Sprint(i), "1")}, r)[0]); i++ {
			}
		}
	}
	ctx, cancel := context.WithCancel(background)
	if err := l.Checkpoint(ctx, r, endless(cancel)); !errors.Is(err, context.Canceled) {
		t.Errorf("Checkpoint: %v", err)
	}
	if len(d.files) != len(files)+1 { // one segment was begun
		t.Errorf("files %v, were %v", d.files, files)
	}
	var closing sync.WaitGroup
	if err := l.Checkpoint(background, r, endless(func() { closing.Go(func() { l.Close() }) })); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Checkpoint: %v", err)
	}
	closing.Wait()
}

// TestCancelled: a writer who leaves before the log has taken its batch leaves
// nothing behind; one who leaves later is told that it may be there.
func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(nil)
		l := open(t, "data", Options{FS: d.view()})
		held := make(chan struct{})
		d.held = held
		ctx, cancel := context.WithCancel(background)
		result := make(chan error)
		go func() {
			_, err := l.Append(ctx, rollcall.Batch{Changes: []rollcall.Change{instance("a", "1")}})
			result <- err
		}()
		<-held
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "may be in the log") {
			t.Errorf("Append: %v", err)
		}
		d.held = nil
		held <- struct{}{}
		if r := appendOne(t, l, instance("b", "1")); r != 2 {
			t.Errorf("revision %d, want 2", r)
		}

		// Nothing is judged while the committer does something else.
		busy := make(chan struct{})
		l.control <- func() { <-busy }
		ctx, cancel = context.WithCancel(background)
		go func() {
			_, err := l.Append(ctx, rollcall.Batch{Changes: []rollcall.Change{instance("c", "1")}})
			result <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-result; err != context.Canceled {
			t.Errorf("Append: %v", err)
		}
		close(busy)
		if r := appendOne(t, l, instance("d", "1")); r != 3 {
			t.Errorf("revision %d, want 3", r)
		}
		l.Close()
	})
}

// TestClosePending: what came in before Close is written.
func TestClosePending(t *testing.T) {
	d := newDisk(nil)
	l := open(t, "data", Options{FS: d.view()})
	var batches []rollcall.Batch
	for i := range groupBatches + 10 {
		batches = append(batches, rollcall.Batch{Changes: []rollcall.Change{instance(fmt.Sprint(i), "1")}})
	}
	requests := send(l, batches)
	l.Close()
	for i, r := range requests {
		<-r.done
		if r.err != nil || r.revision != rollcall.Revision(i+1) {
			t.Fatalf("batch %d: %d, %v", i, r.revision, r.err)
		}
	}
	if n := len(state(t, open(t, "data", Options{FS: d.view()}))); n != len(batches) {
		t.Errorf("%d instances, want %d", n, len(batches))
	}
}

func TestTooLarge(t *testing.T) {
	l := open(t, "data", Options{FS: newDisk(nil).view()})
	_, err := l.Append(background, rollcall.Batch{Changes: []rollcall.Change{instance("a", strings.Repeat("x", maxBatch))}})
	if !errors.Is(err, rollcall.ErrTooLarge) {
		t.Errorf("Append: %v", err)
	}
	appendOne(t, l, instance("a", strings.Repeat("x", maxBatch-1000)))
	want := state(t, l)
	l.Close()
	if len(want) != 1 {
		t.Errorf("state of %d", len(want))
	}
}
