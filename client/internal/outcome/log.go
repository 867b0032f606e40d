package outcome

import (
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
)

const (
	// least and most are how long after what was told last there is news to tell:
	// least if it moved, most if not.
	least = time.Second
	most  = 5 * time.Second
	// moved is by how much errors or latency must have, as a share of the greater.
	moved = 0.2
	// A share of errors below noise is none, and a latency of fewer requests than
	// enough says nothing.
	noise  = 0.01
	enough = 10
	// A report may have so many instances, and cover so much time.
	mostInstances = 1000
	mostWindow    = time.Minute
)

// Log collects the digests that have something to tell. Its zero value is ready for
// use. Digests are recorded by any goroutine; Due belongs to one.
type Log struct {
	queued atomic.Pointer[Digest]
	since  map[rollcall.ServiceKey]*pending
}

// pending is what is to be told of one service.
type pending struct {
	from    time.Time
	digests []*Digest
}

// Digest returns an empty digest of an instance.
func (l *Log) Digest(key rollcall.Key) *Digest { return &Digest{key: key, log: l} }

func (l *Log) push(d *Digest) {
	for {
		d.next = l.queued.Load()
		if l.queued.CompareAndSwap(d.next, d) {
			return
		}
	}
}

// Report is what the registry is to be told of one service.
type Report struct {
	Service rollcall.ServiceKey
	rollcall.CallerReport
}

// Due returns what is to be told as of now. It is asked once a second.
func (l *Log) Due(now time.Time) (reports []Report) {
	for d := l.queued.Swap(nil); d != nil; {
		next := d.next
		p := l.since[d.key.ServiceKey]
		if p == nil {
			if l.since == nil {
				l.since = map[rollcall.ServiceKey]*pending{}
			}
			p = &pending{from: now.Add(-least)}
			l.since[d.key.ServiceKey] = p
		}
		p.digests = append(p.digests, d)
		d = next
	}
	for service, p := range l.since {
		switch {
		case len(p.digests) > 0 && (now.Sub(p.from) >= most || p.moved()):
			reports = p.take(reports, service, now)
			p.from = now
		case len(p.digests) == 0 && now.Sub(p.from) >= most:
			delete(l.since, service)
		}
	}
	return reports
}

// moved reports whether what any instance shows is far from what was told of it.
func (p *pending) moved() bool {
	for _, d := range p.digests {
		if d.told.moved(d.sum(false)) {
			return true
		}
	}
	return false
}

func (s summary) moved(now summary) bool {
	far := func(a, b, least float64) bool { return max(a, b) >= least && max(a, b)-min(a, b) > moved*max(a, b) }
	return far(s.failing(), now.failing(), noise) || now.ok >= enough && far(s.p50, now.p50, 0)
}

// failing returns the share of requests that failed.
func (s summary) failing() float64 { return float64(s.errors) / float64(max(1, s.ok+s.errors)) }

// take empties the digests into reports.
func (p *pending) take(reports []Report, service rollcall.ServiceKey, now time.Time) []Report {
	var r *Report
	for _, d := range p.digests {
		d.queued.Store(false) // first: what is counted from here on queues it again
		s := d.sum(true)
		if s.ok+s.errors == 0 {
			continue // it was queued for what had been taken already
		}
		d.told = s
		if r == nil || len(r.Instances) == mostInstances {
			reports = append(reports, Report{Service: service})
			r = &reports[len(reports)-1]
			r.Window = rollcall.Duration(min(now.Sub(p.from), mostWindow))
		}
		r.Instances = append(r.Instances, rollcall.Outcome{ID: d.key.ID, OK: s.ok, Errors: s.errors, LatencyP50: s.p50, LatencyP99: s.p99})
	}
	p.digests = nil
	return reports
}
