package figures

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/driver/etcd"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// crowd is many connections to a server in a process of their own, so that they have its
// descriptors for themselves: one thread that waits for all of them. It tells what it has
// seen to whoever asks it over HTTP.
type crowd struct {
	Addr    string
	Conns   int
	Request string // of each connection
	Keep    bool   // the connections stay, with nothing to do, once they have their answer
	Etcd    bool   // the connections are of etcd's client, each with a watch
}

// seen is what a crowd has seen since it was asked before.
type seen struct {
	Open    int            // connections that have had their first line
	Ended   int            // and those that have ended
	Error   string         // of the first that failed
	Bytes   int64          // in HTTP
	Records map[string]int // by type
	Changes map[int]*arrivals
}

// arrivals are when a change was seen, by the clock that all processes share.
type arrivals struct {
	Count, Last int64
}

// serveCrowd is the role of a crowd.
func serveCrowd(config []byte) (any, error) {
	var c crowd
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	w := witness{total: seen{Records: map[string]int{}, Changes: map[int]*arrivals{}}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	gather := c.gather
	if c.Etcd {
		gather = c.gatherEtcd
	}
	if err := gather(&w); err != nil {
		return nil, err
	}
	child.Ready(ln.Addr().String())
	return nil, http.Serve(ln, http.HandlerFunc(w.report))
}

// gather opens the connections and reads from them ever after.
func (c crowd) gather(w *witness) error {
	w.first = make([]bool, c.Conns)
	s := wire.Streams{
		Addr: c.Addr, Conns: c.Conns, Keep: c.Keep,
		Request: func(int) []byte { return []byte(c.Request) },
		Line:    w.line, Read: w.read, Ended: w.ended,
	}
	if err := s.Open(); err != nil {
		return err
	}
	go s.Run() // until the process ends
	for deadline := time.Now().Add(50 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		w.mu.Lock()
		open, ended, problem := w.total.Open, w.total.Ended, w.total.Error
		w.mu.Unlock()
		switch {
		case ended > 0 || time.Now().After(deadline):
			return fmt.Errorf("%d of %d connections are there, %d ended: %s", open, c.Conns, ended, problem)
		case open == c.Conns:
			return nil
		}
	}
}

func (c crowd) gatherEtcd(w *witness) error {
	client, err := etcd.Dial(c.Addr, c.Conns, 0)
	if err != nil {
		return err
	}
	w.total.Open = c.Conns
	client.Watch(context.Background(), c.Conns, func(value []byte) {
		now := time.Now()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.change(value, now)
	})
	return nil
}

// witness counts what comes.
type witness struct {
	mu    sync.Mutex
	first []bool // connections that have had a line
	total seen
}

func (w *witness) line(i int, line []byte, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.first[i] {
		w.first[i] = true
		w.total.Open++
	}
	kind := recordType(line)
	w.total.Records[kind]++
	if kind == "put" {
		w.change(line, at)
	}
}

// change notes a change. The mutex is held.
func (w *witness) change(text []byte, at time.Time) {
	n, ok := markOf(text)
	if !ok {
		return
	}
	a := w.total.Changes[n]
	if a == nil {
		a = &arrivals{}
		w.total.Changes[n] = a
	}
	a.Count++
	a.Last = max(a.Last, proc.Clock(at))
}

func (w *witness) read(_, n int) {
	w.mu.Lock()
	w.total.Bytes += int64(n)
	w.mu.Unlock()
}

func (w *witness) ended(i int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total.Ended++
	if err != nil && w.total.Error == "" {
		w.total.Error = err.Error()
	}
}

// report tells what was seen, and forgets it.
func (w *witness) report(rw http.ResponseWriter, _ *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	json.NewEncoder(rw).Encode(w.total)
	w.total.Bytes, w.total.Records, w.total.Changes = 0, map[string]int{}, map[int]*arrivals{}
}

// recordType returns the type of a record of a watch.
func recordType(line []byte) string {
	rest, ok := bytes.CutPrefix(line, []byte(`{"type":"`))
	if !ok {
		return ""
	}
	kind, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(kind)
}

// markOf finds which change a text is about.
func markOf(text []byte) (n int, ok bool) {
	_, rest, ok := bytes.Cut(text, []byte(driver.Mark))
	if !ok || len(rest) < 9 {
		return 0, false
	}
	n, err := strconv.Atoi(string(rest[:9]))
	return n, err == nil
}

// marksOf finds all changes that a text is about.
func marksOf(text []byte) (all []int) {
	for part := range bytes.SplitSeq(text, []byte(driver.Mark)) {
		if n, err := strconv.Atoi(string(part[:min(9, len(part))])); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// gathered is a crowd that is there.
type gathered struct {
	Server
	Conns int
}

// gather starts a crowd and waits until all of it is there.
func (b *Bench) gather(c crowd) (gathered, error) {
	b.progress("opening %d connections", c.Conns)
	s, err := b.Child("crowd", "crowd", c)
	return gathered{s, c.Conns}, err
}

// watchers gathers watchers of a service of Rollcall.
func (b *Bench) watchers(s Server, n int, service string) (gathered, error) {
	request := driver.RollcallWatch(s.Addr, service).Append(nil, 0, 0)
	return b.gather(crowd{Addr: s.Addr, Conns: n, Request: string(request)})
}

// seen returns what the crowd has seen since it was asked before.
func (g gathered) seen() (s seen, err error) {
	reply, err := http.Get("http://" + g.Addr)
	if err != nil {
		return s, err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, err
	}
	if s.Ended > 0 {
		return s, fmt.Errorf("%d of %d connections have ended: %s", s.Ended, g.Conns, s.Error)
	}
	return s, nil
}

// seenAll returns what the crowd has seen of changes, once all of it has seen all of them
// or some time has passed. Those that were merged with later ones may be missing.
func (g gathered) seenAll(changes map[int]time.Time, patience time.Duration) (map[int]*arrivals, error) {
	all := map[int]*arrivals{}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		s, err := g.seen()
		if err != nil {
			return nil, err
		}
		for n, a := range s.Changes {
			if before := all[n]; before != nil {
				a.Count, a.Last = a.Count+before.Count, max(a.Last, before.Last)
			}
			all[n] = a
		}
		missing := 0
		for n := range changes {
			if a := all[n]; a == nil || a.Count < int64(g.Conns) {
				missing++
			}
		}
		if missing == 0 || time.Now().After(deadline) {
			return all, nil
		}
	}
}

// news are changes of the watched service, and when each was due.
type news struct {
	mu        sync.Mutex
	instances int
	next      int
	due       map[int]time.Time
}

// watchedInstances is how many instances the watched service has.
const watchedInstances = 100

func newNews(instances int) *news { return &news{instances: instances, due: map[int]time.Time{}} }

// source returns a source of changes of one instance after the other.
func (n *news) source(t wire.Template) func(int) wire.Source {
	return func(int) wire.Source {
		return wire.Source{
			Next: func(dst []byte) ([]byte, int) {
				n.mu.Lock()
				defer n.mu.Unlock()
				n.next++
				return t.Append(dst, n.next%n.instances, n.next), n.next
			},
			Due: n.sent,
		}
	}
}

func (n *news) sent(change int, at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.due[change] = at
}

// take returns the changes that were due in a window, and forgets all.
func (n *news) take(begin, end time.Time) map[int]time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	due := n.due
	n.due = map[int]time.Time{}
	for change, at := range due {
		if at.Before(begin) || !at.Before(end) {
			delete(due, change)
		}
	}
	return due
}

// took returns how long each change took from when it was due until the last of so many
// watchers had it, in order; missing are those that not all of them have seen.
func took(due map[int]time.Time, all map[int]*arrivals, watchers int) (each []time.Duration, missing int) {
	for change, at := range due {
		if a := all[change]; a != nil && a.Count >= int64(watchers) {
			each = append(each, time.Duration(a.Last-proc.Clock(at)))
		} else {
			missing++
		}
	}
	slices.Sort(each)
	return each, missing
}

// histogram counts durations.
func histogram(all []time.Duration) (h load.Histogram) {
	for _, d := range all {
		h.Record(d)
	}
	return h
}
