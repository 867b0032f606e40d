package modeltest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// promise is one thing that watches promise: package watch's documentation, and
// docs/http.md, taken apart.
type promise string

const (
	begins     promise = "begins: with a snapshot without a token; with one where it left off, or with a reset"
	whole      promise = "whole: a snapshot or reset is the state at its revision"
	ordered    promise = "ordered: batches, and the changes in one, come in the order of their revisions"
	unique     promise = "unique: no change comes twice, and an instance once in a batch"
	unsplit    promise = "atomic: a revision is never split over two batches"
	reliable   promise = "reliable: what was told adds up to the state at the revision"
	relevant   promise = "relevant: only what the topic holds and the selection sees"
	truthful   promise = "truthful: the kind, the revision and the words are those of the last change"
	coalesced  promise = "coalesced: what cancelled out, or looks the same, is not told"
	bookmarked promise = "bookmarked: a bookmark's revision never falls, and nothing is missing up to it"
	timely     promise = "timely: an idle watcher has a bookmark every 5 s"
	current    promise = "current: who waits is told at once"
	resumable  promise = "resumable: no reset while the history reaches back to the token"
	closing    promise = "closing: streams end when the server stops, and only then"
)

var promises = []promise{
	begins, whole, ordered, unique, unsplit, reliable, relevant, truthful, coalesced, bookmarked, timely, current, resumable, closing,
}

// broken is a promise that was not kept.
type broken struct {
	promise promise
	detail  string
}

func (b *broken) Error() string { return fmt.Sprintf("broken promise: %s\n%s", b.promise, b.detail) }

// stream holds what one watcher is told against the promises. It folds it into
// what the watcher then believes.
type stream struct {
	history *history
	topic   rollcall.ServiceKey
	sees    func(*item) bool
	// reaches reports whether the registry must be able to resume from a
	// revision.
	reaches func(rollcall.Revision) bool

	resumed bool // it was opened with a token
	foreign bool // of another log
	begun   bool // it was told something since
	at      rollcall.Revision
	last    time.Time // when it was told something
	// believes is nil until the first snapshot.
	believes map[rollcall.Key]belief
	tested   map[promise]int
}

// belief is an instance as a watcher sees it.
type belief struct {
	text                  string
	revision, incarnation rollcall.Revision
}

func (i *item) belief() belief {
	return belief{describe(i.instance(), i.override, i.finding), i.revision, i.incarnation}
}

func believe(i *catalog.Item) belief {
	return belief{describe(i.Instance(), i.Override(), i.Finding), i.Revision(), i.Incarnation()}
}

// state returns what a watcher should believe at a revision.
func (s *stream) state(r rollcall.Revision) map[rollcall.Key]belief {
	at := s.history.at(r)
	if at == nil {
		return nil
	}
	m := map[rollcall.Key]belief{}
	for _, i := range at.of(s.topic, s.sees) {
		m[i.key] = i.belief()
	}
	return m
}

// resume goes on from a token of a revision, as one who saw the state there.
func (s *stream) resume(r rollcall.Revision) {
	s.resumed, s.foreign, s.begun, s.at, s.believes = true, false, false, r, s.state(r)
}

func (s *stream) holds(p promise, ok bool, format string, args ...any) error {
	s.tested[p]++
	if ok {
		return nil
	}
	return &broken{p, fmt.Sprintf("%v, current as of %d: ", s.topic, s.at) + fmt.Sprintf(format, args...)}
}

// firstOf returns the first error of a list of checks.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// take holds one batch against the promises.
func (s *stream) take(b *watch.Batch, now time.Time) (err error) {
	first := !s.begun
	s.begun, s.last = true, now
	switch b.Type {
	case watch.Snapshot, watch.Reset:
		err = s.takeState(b, first)
	case watch.Changes:
		if err = s.holds(begins, !first || s.resumed && !s.foreign, "it begins with changes"); err == nil {
			err = s.takeChanges(b)
		}
	case watch.Bookmark:
		want := s.state(b.Revision)
		err = firstOf(
			s.holds(begins, !first || s.resumed && !s.foreign, "it begins with a bookmark"),
			s.holds(bookmarked, b.Revision >= s.at, "bookmark %d", b.Revision),
			s.holds(bookmarked, want != nil && maps.Equal(want, s.believes), "bookmark %d, and missing are\n%s", b.Revision, differences(want, s.believes)),
		)
	default:
		err = fmt.Errorf("a batch of type %d", b.Type)
	}
	s.at = b.Revision
	return err
}

func (s *stream) takeState(b *watch.Batch, first bool) error {
	believes := map[rollcall.Key]belief{}
	for v := range b.State.Views(rollcall.ServiceKey{}) {
		for i := range v.All() {
			if key := i.Key(); s.topic.Service != "" && v.Key() != s.topic || s.topic.Namespace != "" && key.Namespace != s.topic.Namespace {
				continue
			}
			if m := s.history.at(b.Revision); m != nil && m.items[i.Key()] != nil && !s.sees(m.items[i.Key()]) {
				continue // the watcher looks through its selection
			}
			believes[i.Key()] = believe(i)
		}
	}
	was, want := s.at, s.state(b.Revision)
	s.believes = believes
	return firstOf(
		s.holds(begins, (b.Type == watch.Snapshot) == (first && !s.resumed), "batch of type %d; it is the first: %v, of a resumed stream: %v", b.Type, first, s.resumed),
		s.holds(begins, !first || !s.foreign || b.Type == watch.Reset, "batch of type %d for a token of another log", b.Type),
		s.holds(whole, b.State.Revision() == b.Revision, "the state at %d is said to be that at %d", b.State.Revision(), b.Revision),
		s.holds(whole, want != nil && maps.Equal(believes, want), "the state at %d differs:\n%s", b.Revision, differences(want, believes)),
		s.holds(resumable, b.Type == watch.Snapshot || !s.reaches(was), "a reset to %d", b.Revision),
		s.holds(ordered, b.Revision >= was || !s.reaches(was), "the state at %d", b.Revision),
	)
}

func (s *stream) takeChanges(b *watch.Batch) error {
	told := map[rollcall.Key]bool{}
	newest := s.at
	err := firstOf(
		s.holds(coalesced, len(b.Changes) > 0, "a batch of no changes"),
		s.holds(ordered, b.Revision > s.at, "a batch of revision %d", b.Revision),
	)
	before := maps.Clone(s.believes)
	is := s.history.at(b.Revision)
	if is == nil {
		return s.holds(truthful, false, "revision %d does not exist", b.Revision)
	}
	for _, c := range b.Changes {
		if err != nil {
			return err
		}
		key := rollcall.Key{ServiceKey: c.Service, ID: c.ID}
		had, known := before[key]
		var now belief
		if c.Item != nil {
			now = believe(c.Item)
		}
		inTopic := (s.topic.Namespace == "" || key.Namespace == s.topic.Namespace) && (s.topic.Service == "" || key.Service == s.topic.Service)
		i := is.items[key]
		seen := i != nil && s.sees(i)
		why, at := s.history.lastChange(key, s.at, b.Revision)
		err = firstOf(
			s.holds(ordered, c.Revision >= newest && c.Revision <= b.Revision, "%v of revision %d behind one of %d in a batch of revision %d", key, c.Revision, newest, b.Revision),
			s.holds(unique, c.Revision > s.at, "%v of revision %d", key, c.Revision),
			s.holds(unique, !told[key], "%v twice in a batch of revision %d", key, b.Revision),
			s.holds(relevant, inTopic, "%v", key),
			s.holds(relevant, seen == (c.Kind != watch.Remove), "%v with kind %d; it is selected: %v", key, c.Kind, seen),
			s.holds(relevant, c.Kind == watch.Remove || c.Item != nil && c.Item.Key() == key, "%v with %v", key, now.text),
			s.holds(truthful, at == c.Revision && why == c.Why, "%v of revision %d because %q; its last change was in %d because %q", key, c.Revision, c.Why, at, why),
			s.holds(truthful, (c.Item == nil) == (i == nil), "%v is there: %v", key, i != nil),
			s.holds(truthful, c.Item == nil || i == nil || now == i.belief(), "%v is\n%s", key, now.text),
			s.holds(truthful, c.Kind == watch.Remove || (c.Kind == watch.Health) == (known && had.revision == now.revision && had.incarnation == now.incarnation),
				"%v with kind %d: from\n%sto\n%s", key, c.Kind, had.text, now.text),
			s.holds(coalesced, known || c.Kind != watch.Remove, "%v is removed and was not there", key),
			s.holds(coalesced, c.Kind == watch.Remove || had.text != now.text || s.same(key, b.Revision), "%v is told again as it was", key),
		)
		told[key], newest = true, c.Revision
		if s.believes[key] = now; c.Kind == watch.Remove {
			delete(s.believes, key)
		}
	}
	if err != nil {
		return err
	}
	want := s.state(b.Revision)
	for _, t := range s.history.told(b.Revision) {
		now, sees := want[t.key]
		if had, saw := before[t.key]; !told[t.key] && s.covers(t.key) && (sees != saw || now != had) {
			return s.holds(unsplit, false, "of revision %d %v is not told", b.Revision, t.key)
		}
	}
	return firstOf(
		s.holds(unsplit, true, ""),
		s.holds(reliable, maps.Equal(want, s.believes), "at %d it differs:\n%s", b.Revision, differences(want, s.believes)),
	)
}

// same reports whether an instance was changed and looks as before: its health
// went there and back, which a watcher may be told.
func (s *stream) same(key rollcall.Key, upTo rollcall.Revision) bool {
	_, at := s.history.lastChange(key, s.at, upTo)
	return at != 0
}

func (s *stream) covers(key rollcall.Key) bool {
	return (s.topic.Namespace == "" || key.Namespace == s.topic.Namespace) && (s.topic.Service == "" || key.Service == s.topic.Service)
}

func (h *history) told(r rollcall.Revision) []told {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tells[r]
}

// idle holds what a watcher that waits knows against the newest state.
func (s *stream) idle(now time.Time) error {
	newest := s.history.newest()
	want := s.state(newest.revision)
	if s.believes == nil {
		return s.holds(current, s.begun, "nothing was told")
	}
	return firstOf(
		s.holds(current, maps.Equal(want, s.believes), "the newest is %d, and it differs:\n%s", newest.revision, differences(want, s.believes)),
		s.holds(timely, now.Sub(s.last) <= watch.BookmarkEvery, "nothing for %v", now.Sub(s.last)),
	)
}

func differences(want, got map[rollcall.Key]belief) string {
	var b strings.Builder
	for _, key := range slices.SortedFunc(maps.Keys(want), byKey) {
		if got[key] != want[key] {
			fmt.Fprintf(&b, "- %v %s", key, want[key].text)
			if g, ok := got[key]; ok {
				fmt.Fprintf(&b, "+ %v %s", key, g.text)
			}
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(got), byKey) {
		if _, ok := want[key]; !ok {
			fmt.Fprintf(&b, "+ %v %s", key, got[key].text)
		}
	}
	return b.String()
}

func byKey(a, b rollcall.Key) int { return strings.Compare(a.String(), b.String()) }
