package local

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/store/storetest"
)

var (
	seedFlag  = flag.Uint64("crash.seed", 0, "run only this seed of the crash tests")
	seedsFlag = flag.Int("crash.seeds", 16, "number of seeds of the crash tests")
)

// historyChange is what one revision changed.
type historyChange []rollcall.Change

// TestCrash cuts the power at every step of a workload, in many ways, and holds
// what is there afterwards against what the workload was told.
func TestCrash(t *testing.T) {
	seeds := *seedsFlag
	if testing.Short() {
		seeds = 4
	}
	// Each start makes some large buffers, and keeps none.
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	points := 0
	for seed := uint64(1); seed <= uint64(seeds); seed++ {
		if *seedFlag != 0 {
			seed = *seedFlag
		}
		n, err := crashAll(t, seed, false)
		points += n
		if err != nil {
			t.Fatalf("-crash.seed=%d: %v", seed, err)
		}
		if *seedFlag != 0 {
			break
		}
	}
	t.Logf("%d crash points", points)
	if !testing.Short() && *seedFlag == 0 && *seedsFlag == 16 && points < 10_000 {
		t.Errorf("%d crash points, want at least 10,000", points)
	}
}

// TestCrashWithoutSync proves the checker: without syncs, it finds losses.
func TestCrashWithoutSync(t *testing.T) {
	_, err := crashAll(t, 1, true)
	if err == nil || !strings.Contains(err.Error(), "lost") {
		t.Fatalf("nothing is synced, and the checker says %v", err)
	}
}

// crashAll runs the workload of a seed and returns how many crashes it tried,
// and the first that went wrong.
func crashAll(t *testing.T, seed uint64, lazy bool) (points int, err error) {
	w := newWorkload(t, seed, lazy)
	w.run()
	if lazy && w.failed != nil {
		return 0, w.failed
	}
	if w.failed != nil {
		t.Fatalf("-crash.seed=%d: %v", seed, w.failed)
	}
	random := rand.New(rand.NewPCG(seed, 2))
	var p platter
	acked := 0
	var history []historyChange
	for step, e := range w.disk.journal {
		switch p.apply(e); e.kind {
		case evAck:
			acked = e.n
			continue // nothing happened to the disk
		case evBoot:
			history = e.history
		}
		for _, c := range cuts(random, &p) {
			points++
			if err := survives(p.crash(c), acked, history); err != nil {
				return points, fmt.Errorf("cut %+v after step %d of %d: %w", c, step, len(w.disk.journal), err)
			}
		}
	}
	return points, nil
}

// cuts picks ways to cut the power: all tears of a short write, and of a long
// one some at its ends, around the borders of blocks, and anywhere.
func cuts(random *rand.Rand, p *platter) (all []cut) {
	n := p.unsynced()
	keep := []int{0, n}
	if n > 0 {
		for i := range min(n, 6) {
			keep = append(keep, 1+random.IntN(min(n, 48)), n-1-i)
		}
		for range 4 {
			keep = append(keep, random.IntN(n))
		}
		if n > blockSize {
			keep = append(keep, blockSize-1, blockSize, blockSize+chunkHeader)
		}
	}
	slices.Sort(keep)
	for _, k := range slices.Compact(keep) {
		if k < 0 {
			continue
		}
		c := cut{keep: k, seed: random.Uint64(), names: random.IntN(nameKinds)}
		if k < n {
			c.blank = random.IntN(blanks)
		}
		all = append(all, c)
	}
	return all
}

// survives opens a log after a crash and returns what is wrong with it.
func survives(files map[string][]byte, acked int, history []historyChange) error {
	d := newDisk(files)
	v := d.view()
	l, err := Open("data", Options{FS: v})
	if err != nil {
		if acked == 0 {
			// Not even the log's creation was acknowledged; but it must open.
			return fmt.Errorf("new log does not open: %w", err)
		}
		return fmt.Errorf("lost all: it does not open: %w", err)
	}
	last, state, err := read(l)
	if err != nil {
		return err
	}
	if last < acked {
		return fmt.Errorf("lost revisions %d to %d", last+1, acked)
	}
	if last > len(history) {
		return fmt.Errorf("revisions up to %d, but only %d were asked for", last, len(history))
	}
	want := modelOf(history[:last])
	if !reflect.DeepEqual(state, want) {
		return fmt.Errorf("at revision %d: state\n%v\nwant\n%v", last, state, want)
	}

	// It goes on: from every instance's last put, so that the index is right.
	b := rollcall.Batch{Changes: []rollcall.Change{instance("after", "crash")}}
	for _, c := range want {
		if put, ok := c.Body.(rollcall.InstancePut); ok {
			b.If = append(b.If, rollcall.Precondition{Key: put.Key, Incarnation: put.Incarnation, Revision: c.Revision})
		}
	}
	r, err := l.Append(background, b)
	if err != nil || r != rollcall.Revision(last+1) {
		return fmt.Errorf("after revision %d: Append = %d, %v", last, r, err)
	}
	want.Apply(noted(b.Changes, r)[0])
	if last%2 == 0 {
		l.Close()
	} else {
		v.dead.Store(true)
		defer l.Close()
	}
	l, err = Open("data", Options{FS: d.view()})
	if err != nil {
		return fmt.Errorf("second start: %w", err)
	}
	defer l.Close()
	again, state, err := read(l)
	if err != nil {
		return fmt.Errorf("second start: %w", err)
	}
	if again != last+1 || !reflect.DeepEqual(state, want) {
		return fmt.Errorf("second start: lost revision %d, or part of it: at %d, state\n%v\nwant\n%v", last+1, again, state, want)
	}
	return nil
}

// read reads all that a log holds.
func read(l *Log) (last int, state storetest.Model, err error) {
	end := l.feed.End().Entry.Revision
	state = storetest.Model{}
	for e, err := range l.Follow(background, 0) {
		if err != nil {
			return 0, nil, fmt.Errorf("follow: %w", err)
		}
		if !e.Reset && e.Revision != rollcall.Revision(last)+1 {
			return 0, nil, fmt.Errorf("revision %d follows %d", e.Revision, last)
		}
		last = int(e.Revision)
		for _, c := range e.Changes {
			state.Apply(c)
		}
		if e.Revision == end && !(e.Reset && e.More) {
			break
		}
	}
	return last, state, nil
}

func modelOf(history []historyChange) storetest.Model {
	m := storetest.Model{}
	for _, changes := range history {
		for _, c := range changes {
			m.Apply(c)
		}
	}
	return m
}

func instance(id, text string) rollcall.Change {
	return rollcall.Change{At: time.Unix(1_700_000_000, 0).UTC(), By: "crash", Body: rollcall.InstancePut{
		Key: rollcall.NewKey("", "web", id), Record: rollcall.Record(text)}}
}

// noted returns changes as the log hands them on.
func noted(changes []rollcall.Change, r rollcall.Revision) historyChange {
	changes = slices.Clone(changes)
	for i := range changes {
		changes[i].Revision = r
	}
	return changes
}

// workload does to a log what a registry does, and then some.
type workload struct {
	t       *testing.T
	random  *rand.Rand
	disk    *disk
	view    *view
	log     *Log
	history []historyChange
	dead    []*Log
	failed  error
}

func newWorkload(t *testing.T, seed uint64, lazy bool) *workload {
	w := &workload{t: t, random: rand.New(rand.NewPCG(seed, 0)), disk: newDisk(nil)}
	w.disk.lazy = lazy
	w.boot(nil)
	return w
}

// boot starts on these files. The event that says so gets its history later,
// once it is known what was asked for.
func (w *workload) boot(files map[string][]byte) {
	old := w.disk
	w.disk = newDisk(files)
	w.disk.lazy = old.lazy
	boot := event{kind: evBoot, files: map[int][]byte{}, names: map[string]int{}}
	for name, i := range w.disk.files {
		boot.files[i.id], boot.names[name] = slices.Clone(i.data), i.id
	}
	w.disk.journal = append(old.journal, boot)
	w.open()
}

// open opens the log. What it holds has then been seen, and must stay.
func (w *workload) open() {
	w.view = w.disk.view()
	log, err := Open("data", Options{FS: w.view, SegmentSize: int64(1024 << w.random.IntN(6))})
	if err != nil {
		w.failed = fmt.Errorf("lost all: %w", err)
		return
	}
	w.log = log
	last, state, err := read(log)
	if err != nil {
		w.failed = err
		return
	}
	if last > len(w.history) || !reflect.DeepEqual(state, modelOf(w.history[:last])) {
		w.failed = fmt.Errorf("revision %d after a start, %d were asked for; state %v", last, len(w.history), state)
		return
	}
	w.history = slices.Clone(w.history[:last])
	w.ack()
}

func (w *workload) ack() {
	w.disk.mu.Lock()
	defer w.disk.mu.Unlock()
	w.disk.journal = append(w.disk.journal, event{kind: evAck, n: len(w.history)})
}

// chapter ends a part of the journal in which revisions meant one thing.
func (w *workload) chapter() {
	w.disk.mu.Lock()
	defer w.disk.mu.Unlock()
	for i := len(w.disk.journal) - 1; i >= 0; i-- {
		if e := &w.disk.journal[i]; e.kind == evBoot && e.history == nil {
			e.history = slices.Clone(w.history)
			if e.history == nil {
				e.history = []historyChange{}
			}
			return
		}
	}
}

func (w *workload) run() {
	defer func() {
		w.chapter()
		for _, l := range append(w.dead, w.log) {
			if l != nil {
				l.Close()
			}
		}
	}()
	for range 14 {
		if w.failed != nil {
			return
		}
		switch w.random.IntN(12) {
		case 0, 1, 2, 3, 4:
			w.append()
		case 5, 6, 7:
			w.checkpoint()
		case 8:
			w.log.Close()
			w.open()
		case 9:
			w.die()
			w.open()
		case 10, 11:
			w.die()
			w.powerCut()
		}
	}
}

// append writes a group of batches, and waits for it.
func (w *workload) append() {
	batches := w.batches(true)
	for i, r := range send(w.log, batches) {
		<-r.done
		if errors.Is(r.err, rollcall.ErrPrecondition) && len(batches[i].If) > 0 {
			continue
		}
		if r.err != nil || r.revision != rollcall.Revision(len(w.history)+1) {
			w.failed = fmt.Errorf("after revision %d: Append = %d, %w", len(w.history), r.revision, r.err)
			return
		}
		w.history = append(w.history, noted(batches[i].Changes, r.revision))
	}
	w.ack()
}

// batches makes a group of up to 6 batches of up to 3 changes.
func (w *workload) batches(conditions bool) (batches []rollcall.Batch) {
	for range 1 + w.random.IntN(6) {
		var b rollcall.Batch
		for range 1 + w.random.IntN(3) {
			id := fmt.Sprint(w.random.IntN(8))
			c := instance(id, w.text())
			if w.random.IntN(5) == 0 {
				c.Body = rollcall.InstanceRemove{Key: rollcall.NewKey("", "web", id)}
			}
			b.Changes = append(b.Changes, c)
		}
		if conditions && w.random.IntN(4) == 0 {
			b.If = []rollcall.Precondition{{Key: rollcall.NewKey("", "web", fmt.Sprint(w.random.IntN(8)))}}
		}
		batches = append(batches, b)
	}
	return batches
}

func (w *workload) text() string {
	n := w.random.IntN(100)
	if w.random.IntN(12) == 0 {
		n = w.random.IntN(40_000)
	}
	return strings.Repeat(string(rune('a'+w.random.IntN(26))), n)
}

// send hands batches to a log so that they are one group.
func send(l *Log, batches []rollcall.Batch) (requests []*request) {
	for _, b := range batches {
		requests = append(requests, &request{batch: b, done: make(chan struct{}, 1)})
	}
	l.mu.Lock()
	l.pending = append(l.pending, requests...)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return requests
}

func (w *workload) checkpoint() {
	if len(w.history) == 0 {
		return
	}
	at := len(w.history) - w.random.IntN(min(3, len(w.history)))
	state := modelOf(w.history[:at])
	if err := w.log.Checkpoint(background, rollcall.Revision(at), state.Changes()); err != nil {
		w.failed = fmt.Errorf("checkpoint at %d: %w", at, err)
	}
}

// die kills the process while the disk is busy with a group that nobody has
// heard of yet.
func (w *workload) die() {
	held := make(chan struct{})
	w.disk.held = held
	batches := w.batches(false)
	requests := send(w.log, batches)
	<-held
	for _, b := range batches {
		w.history = append(w.history, noted(b.Changes, rollcall.Revision(len(w.history)+1)))
	}
	w.view.dead.Store(true)
	w.disk.held = nil
	held <- struct{}{}
	for _, r := range requests {
		if <-r.done; !errors.Is(r.err, rollcall.ErrUnavailable) {
			w.failed = fmt.Errorf("the disk did not answer, and the writer is told %v", r.err)
		}
	}
	w.dead = append(w.dead, w.log)
	w.log = nil
}

// powerCut goes on after one of the crashes that are possible now.
func (w *workload) powerCut() {
	w.chapter()
	var p platter
	for _, e := range w.disk.journal {
		p.apply(e)
	}
	all := cuts(w.random, &p)
	w.boot(p.crash(all[w.random.IntN(len(all))]))
}
