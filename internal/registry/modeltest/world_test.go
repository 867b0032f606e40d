package modeltest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/httpapi"
	"github.com/rollcall-registry/rollcall/internal/lease"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/local"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// spy notes what is written to a log, and what is read from it.
type spy struct {
	registry.Log
	reopen func() (registry.Log, error) // nil: the log stays open

	mu       sync.Mutex // guards what follows
	written  []rollcall.Entry
	followed []rollcall.Entry
}

func newSpy(durable bool) (*spy, error) {
	if !durable {
		return &spy{Log: memory.New()}, nil
	}
	fs := vfs.NewMem()
	open := func() (registry.Log, error) { return local.Open("data", local.Options{FS: fs, SegmentSize: 4 << 10}) }
	log, err := open()
	return &spy{Log: log, reopen: open}, err
}

// close ends the log if it is one that can be opened again.
func (s *spy) close() error {
	if s.reopen == nil {
		return nil
	}
	return s.Log.(io.Closer).Close()
}

func (s *spy) open() (err error) {
	if s.reopen != nil {
		s.Log, err = s.reopen()
	}
	return err
}

func (s *spy) Append(ctx context.Context, b rollcall.Batch) (rollcall.Revision, error) {
	rev, err := s.Log.Append(ctx, b)
	if err != nil {
		return rev, err
	}
	e := rollcall.Entry{Revision: rev, Changes: slices.Clone(b.Changes)}
	for i := range e.Changes {
		e.Changes[i].Revision = rev
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = append(s.written, e)
	return rev, nil
}

func (s *spy) Follow(ctx context.Context, from rollcall.Revision) iter.Seq2[rollcall.Entry, error] {
	return func(yield func(rollcall.Entry, error) bool) {
		for e, err := range s.Log.Follow(ctx, from) {
			if err == nil && !e.Reset {
				s.mu.Lock()
				s.followed = append(s.followed, e)
				s.mu.Unlock()
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// take returns what was written and what was followed since it was last called.
func (s *spy) take() (written, followed []rollcall.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	written, followed = s.written, s.followed
	s.written, s.followed = nil, nil
	slices.SortFunc(written, func(a, b rollcall.Entry) int { return int(a.Revision) - int(b.Revision) })
	return written, followed
}

// world is a registry on a log, with its door and its watchers, beside what a
// naive one would be like.
type world struct {
	ctx     context.Context // of all calls
	log     *spy
	reg     *registry.Registry
	door    http.Handler
	stop    context.CancelFunc
	stopped chan error

	history *history
	times   []time.Time // of each revision from 1
	entries []rollcall.Entry
	soft    *soft
	shadow  *catalog.Catalog // what one gets who applies the entries one by one
	singles *catalog.Catalog // and who applies each change, and each id of one, by itself
	started rollcall.Revision
	// imageless asks for no checkpoints and backups: they do not have the name of
	// a service without instances, for which the record format has no place.
	imageless bool

	rng      *rand.Rand // of the command that is being done
	answered map[string]known
	watchers []*watcher
	streams  []*records
	tested   map[promise]int
	seen     map[string]int // what happened how often
}

func newWorld(p plan) (*world, error) {
	log, err := newSpy(p.durable)
	if err != nil {
		return nil, err
	}
	w := &world{
		imageless: p.names,
		ctx:       auth.With(context.Background(), auth.Anonymous("http")), log: log,
		history: newHistory(), shadow: catalog.New(), singles: catalog.New(),
		answered: map[string]known{}, tested: map[promise]int{}, seen: map[string]int{},
		rng: rand.New(rand.NewPCG(0, 0)),
	}
	for _, c := range []*catalog.Catalog{w.shadow, w.singles} {
		c.PanicBelow(0)
		if err := c.Apply(rollcall.Entry{Log: log.Status().ID, Reset: true}); err != nil {
			return nil, err
		}
		c.Publish()
	}
	return w, w.start()
}

// start begins a process.
func (w *world) start() error {
	w.reg = registry.New(registry.Options{
		Log: w.log, Logger: slog.New(slog.DiscardHandler),
		// What most do together is not in the model, which looks at each alone.
		Defaults: rollcall.Settings{GuardShare: new(1.0), Panic: new(0.0)}, Undamped: true,
	})
	w.door = httpapi.New(w.reg, httpapi.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan error, 1)
	reg := w.reg
	go func() { stopped <- reg.Run(ctx) }()
	w.stop, w.stopped = cancel, stopped
	if err := w.reg.WaitSynced(ctx); err != nil {
		return err
	}
	w.reg.Serving()
	w.soft = newSoft(time.Now())
	w.started = w.history.newest().revision
	w.soft.open(w.history.newest())
	w.forget(time.Now().Add(-24 * time.Hour)) // it is no better known for having been read again
	if err := w.settle(nil, nil, true); err != nil {
		return fmt.Errorf("at the start: %w", err)
	}
	// Everything else is done between two ticks of the registry's.
	time.Sleep(lease.Tick / 2)
	return nil
}

// end ends the process, which writes where instances have moved.
func (w *world) end() error {
	w.reg.EndStreams()
	synctest.Wait()
	for _, c := range w.watchers {
		if err := c.ended(w); err != nil {
			return err
		}
	}
	var direct []string
	for _, i := range w.history.newest().of(rollcall.ServiceKey{}, anything) {
		if w.soft.moved[i.key] {
			direct = append(direct, w.wantPosition(i)...)
		}
	}
	w.stop()
	if err := <-w.stopped; err != nil {
		return fmt.Errorf("Run: %w", err)
	}
	_, err := w.fold(direct, nil)
	return err
}

// wantPosition returns what brings an instance's position to the log.
func (w *world) wantPosition(i *item) []string {
	p := w.soft.positions[i.key]
	if at := i.registered.Position; at != nil && *at == p {
		return nil
	}
	is := i.registered
	is.Position = &p
	return []string{wantPut(is, i.incarnation, "position")}
}

// settling is the rule for services that are not known.
func (w *world) settling() bool {
	left := rollcall.DefaultTTL*3/2 - time.Since(w.soft.opened)
	if st := w.log.Status(); !st.First {
		left -= w.soft.opened.Sub(st.Created)
	}
	return w.soft.foreign && left > 0
}

// fold takes in what was written to the log. It must be what is wanted, what
// may be, and verdicts that were due.
func (w *world) fold(direct, optional []string) (judged bool, err error) {
	written, followed := w.log.take()
	now := time.Now()
	drop := func(from *[]string, want string) bool {
		n := slices.Index(*from, want)
		if n >= 0 {
			*from = slices.Delete(*from, n, n+1)
		}
		return n >= 0
	}
	for _, e := range written {
		before := w.history.newest()
		if e.Revision <= before.revision {
			return false, fmt.Errorf("revision %d was written after %d", e.Revision, before.revision)
		}
		w.history.add(e)
		for int(e.Revision) > len(w.times) {
			w.times = append(w.times, now)
		}
		w.entries = append(w.entries, e)
		is := before // after one change of it
		for i := range e.Changes {
			c := &e.Changes[i]
			was := is
			is, _ = was.next(rollcall.Entry{Revision: e.Revision, Changes: e.Changes[i : i+1]})
			ws, verdict := wants(c, is)
			for _, want := range ws {
				if verdict {
					judged = true
					if due := w.dueVerdicts(before, c); !slices.Contains(due, want) {
						return false, fmt.Errorf("revision %d has a verdict that is not due: %s; due are %q", e.Revision, want, due)
					}
					w.seen["verdict"]++
				} else if !drop(&direct, want) && !drop(&optional, want) {
					return false, fmt.Errorf("revision %d is not wanted: %s; wanted are\n%s", e.Revision, want, strings.Join(direct, "\n"))
				}
			}
			w.soft.follow(c, was, is, now)
		}
		if err := w.shadows(e); err != nil {
			return false, err
		}
	}
	if len(direct) > 0 {
		return false, fmt.Errorf("at revision %d there is missing\n%s", w.history.newest().revision, strings.Join(direct, "\n"))
	}
	for _, e := range followed {
		n := slices.IndexFunc(w.entries, func(o rollcall.Entry) bool { return o.Revision == e.Revision })
		if n < 0 {
			return false, fmt.Errorf("entry %d is followed and was not written", e.Revision)
		}
		if d := cmp.Diff(w.entries[n].Changes, e.Changes, cmpopts.IgnoreFields(rollcall.InstancePut{}, "Text")); d != "" {
			return false, fmt.Errorf("entry %d is followed as (-written +followed)\n%s", e.Revision, d)
		}
	}
	return judged, nil
}

// dueVerdicts returns the verdicts on the instances that a change is about.
func (w *world) dueVerdicts(s *state, c *rollcall.Change) (due []string) {
	switch b := c.Body.(type) {
	case rollcall.InstanceRemove:
		if i := s.items[b.Key]; i != nil {
			due = w.soft.overdue(i)
		}
	case rollcall.HealthPut:
		for _, id := range b.IDs {
			if i := s.items[rollcall.Key{ServiceKey: b.Service, ID: id}]; i != nil {
				due = append(due, w.soft.overdue(i)...)
			}
		}
	}
	return due
}

// shadows applies an entry as it is, and change by change.
func (w *world) shadows(e rollcall.Entry) error {
	e.Log = w.log.Status().ID
	if err := w.shadow.Apply(e); err != nil {
		return err
	}
	s, events := w.shadow.Publish()
	if d := cmp.Diff(w.history.newest().String(), dump(s)); d != "" {
		return fmt.Errorf("at revision %d the catalog differs (-want +got):\n%s", e.Revision, d)
	}
	tells := w.history.told(e.Revision)
	for _, ev := range events {
		if ev.ID == "" {
			continue
		}
		key := rollcall.Key{ServiceKey: ev.Service, ID: ev.ID}
		if len(tells) == 0 || tells[0].key != key || (tells[0].before == nil) != (ev.Before == nil) || (tells[0].after == nil) != (ev.After == nil) ||
			ev.After != nil && believe(ev.After) != tells[0].after.belief() || ev.Before != nil && believe(ev.Before) != tells[0].before.belief() {
			return fmt.Errorf("at revision %d the catalog tells %+v, want %+v", e.Revision, ev, tells)
		}
		tells = tells[1:]
	}
	if len(tells) > 0 {
		return fmt.Errorf("at revision %d the catalog does not tell %+v", e.Revision, tells)
	}
	for _, c := range e.Changes {
		parts := []rollcall.Body{c.Body}
		if b, ok := c.Body.(rollcall.HealthPut); ok {
			parts = nil
			for _, id := range b.IDs {
				b.IDs = []string{id}
				parts = append(parts, b)
			}
		}
		for _, c.Body = range parts {
			if err := w.singles.Apply(rollcall.Entry{Log: e.Log, Revision: e.Revision, Changes: []rollcall.Change{c}}); err != nil {
				return err
			}
			w.singles.Publish()
		}
	}
	if d := cmp.Diff(dump(s), dump(w.singles.Snapshot())); d != "" {
		return fmt.Errorf("revision %d change by change is not what it is at once (-at once +one by one):\n%s", e.Revision, d)
	}
	return nil
}

// snapshot returns the registry's newest.
func (w *world) snapshot() (*catalog.Snapshot, error) {
	sub, _, err := w.reg.Watch(w.ctx, &rollcall.Query{Health: "any"}, watch.Reader{})
	if err != nil {
		return nil, err
	}
	defer sub.Close()
	b, err := sub.Next(w.ctx)
	if err != nil {
		return nil, err
	}
	return b.State, nil
}

// settle waits until all is quiet and holds everything against the model.
// direct is what must have been written, and optional what may have been; all
// asks for a comparison even if nothing was.
func (w *world) settle(direct, optional []string, all bool) error {
	synctest.Wait()
	was := len(w.entries)
	if _, err := w.fold(direct, optional); err != nil {
		return err
	}
	if len(w.entries) == was && !all {
		return w.checkWatchers(false)
	}
	s := w.history.newest()
	for _, i := range s.items {
		if due := w.soft.overdue(i); due != nil {
			return fmt.Errorf("at revision %d the log does not say what is known: %q", s.revision, due)
		}
	}
	if len(w.soft.leases) != len(s.items) {
		return fmt.Errorf("%d leases of %d instances: the model is wrong", len(w.soft.leases), len(s.items))
	}
	got, err := w.snapshot()
	if err != nil {
		return err
	}
	if err := w.forgets(got, len(w.entries) > was); err != nil {
		return err
	}
	if d := cmp.Diff(w.history.newest().String(), dump(got)); d != "" {
		return fmt.Errorf("at revision %d the registry differs (-want +got):\n%s", s.revision, d)
	}
	touched := map[rollcall.ServiceKey]bool{services[w.rng.IntN(len(services))]: true}
	for _, e := range w.entries[was:] {
		for i := range e.Changes {
			switch b := e.Changes[i].Body.(type) {
			case rollcall.InstancePut:
				touched[b.Key.ServiceKey] = true
			case rollcall.InstanceRemove:
				touched[b.Key.ServiceKey] = true
			case rollcall.HealthPut:
				touched[b.Service] = true
			case rollcall.OverridePut:
				touched[b.Key.ServiceKey] = true
			}
		}
	}
	for key := range touched {
		if err := w.checkQueries(key); err != nil {
			return fmt.Errorf("at revision %d: %w", s.revision, err)
		}
	}
	return w.checkWatchers(true)
}

// forgets takes in what the registry forgot, if it was to.
func (w *world) forgets(got *catalog.Snapshot, written bool) error {
	if w.soft.forgets == notDue || !written {
		return nil
	}
	before := time.Now().Add(-24 * time.Hour)
	is := w.history.newest()
	then := is.forget(before)
	// What became due at this very tick may have been found by an entry of it.
	_, now := w.soft.housekeeps()
	does := then.String() == dump(got)
	switch {
	case then.String() == is.String():
		if w.soft.forgets = notDue; now {
			w.soft.forgets = maybeDue
		}
		return nil
	case does:
		w.soft.forgets = notDue
		w.seen["forgotten"]++
		w.forget(before)
	case now:
		w.soft.forgets = maybeDue
	case w.soft.forgets == due:
		return fmt.Errorf("at revision %d it should forget (-want +got):\n%s", is.revision, cmp.Diff(then.String(), dump(got)))
	default:
		w.soft.forgets = notDue
	}
	return nil
}

// forget forgets what has had no instance since a time.
func (w *world) forget(before time.Time) {
	w.history.forget(before)
	for _, c := range []*catalog.Catalog{w.shadow, w.singles} {
		c.PanicBelow(0)
		c.Forget(before, 1<<30)
		c.Publish()
	}
}

// advance lets time pass, tick by tick.
func (w *world) advance(d time.Duration) error {
	for range d / lease.Tick {
		time.Sleep(lease.Tick)
		var direct, optional []string
		now := time.Now()
		at := now.Add(-lease.Tick / 2) // of the tick
		changed := w.soft.tick(at)
		if housekeeps, forgets := w.soft.housekeeps(); housekeeps {
			if forgets {
				w.soft.forgets = due
			}
			for _, i := range w.history.newest().items {
				to := &direct
				if w.soft.leases[i.key].why != "" {
					to = &optional // it may be removed first
				}
				if o := i.override; o != nil && o.Expires != nil && !o.Expires.After(at) {
					*to = append(*to, wantOverride(i.key, nil, "override"))
					w.seen["override expired"]++
				}
				if w.soft.moved[i.key] {
					put := w.wantPosition(i)
					*to = append(*to, put...)
					delete(w.soft.moved, i.key)
					if put == nil {
						delete(w.soft.positions, i.key) // it is back
					}
					w.seen["position logged"]++
				}
			}
		}
		if err := w.settle(direct, optional, changed); err != nil {
			return fmt.Errorf("%v after the start: %w", at.Sub(w.soft.opened), err)
		}
	}
	return nil
}

// reaches reports whether a watch can be resumed from a revision: the history
// goes back to it, and the log is the same.
func (w *world) reaches(r rollcall.Revision) bool {
	newest := w.history.newest().revision
	if r < w.started || r > newest {
		return false
	}
	return r == newest || time.Since(w.times[r]) < watch.HistoryAge // when what followed it was written
}

// checkpoint gives the log an image of the state.
func (w *world) checkpoint() error {
	s, err := w.snapshot()
	if err != nil || s.Revision() == 0 {
		return err
	}
	return w.log.Checkpoint(w.ctx, s.Revision(), s.State())
}

// replay holds what one gets who reads the whole log, or a backup, against the
// state.
func (w *world) replay() error {
	s, err := w.snapshot()
	if err != nil {
		return err
	}
	c := catalog.New()
	pages := append([]rollcall.Entry{{Log: s.Log(), Reset: true}}, w.entries...)
	for _, e := range pages {
		e.Log = s.Log()
		if err := c.Apply(e); err != nil {
			return err
		}
		if w.rng.IntN(3) == 0 {
			c.Publish()
		}
	}
	// Who reads it again forgets what was forgotten, and what was about to be.
	before := time.Now().Add(-24 * time.Hour)
	c.Forget(before, 1<<30)
	again, _ := c.Publish()
	if d := cmp.Diff(w.history.newest().forget(before).String(), dump(again)); d != "" {
		return fmt.Errorf("the log replayed up to %d differs (-want +got):\n%s", s.Revision(), d)
	}
	if w.imageless {
		return nil
	}
	var file bytes.Buffer
	if err := w.reg.Backup(w.ctx, &file); err != nil {
		return err
	}
	rd, err := record.NewReader(&file)
	if err != nil {
		return err
	}
	if h := rd.Header; h.Revision != s.Revision() || h.Log != s.Log() {
		return fmt.Errorf("the header of a backup at %d is %+v", s.Revision(), h)
	}
	c = catalog.New()
	for {
		changes, err := rd.Next()
		if err != nil && err != io.EOF {
			return err
		}
		for page := range slices.Chunk(changes, 1+w.rng.IntN(20)) {
			if err := c.Apply(rollcall.Entry{Log: s.Log(), Revision: s.Revision(), Changes: page, Reset: true, More: true}); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
	}
	if err := c.Apply(rollcall.Entry{Log: s.Log(), Revision: s.Revision(), Reset: true}); err != nil {
		return err
	}
	again, _ = c.Publish()
	if d := cmp.Diff(dump(s), dump(again)); d != "" {
		return fmt.Errorf("the backup of %d differs (-want +got):\n%s", s.Revision(), d)
	}
	return nil
}
