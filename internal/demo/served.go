package demo

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
)

// served is one instance in its own process: its HTTP server does nothing but
// take its time, and it counts what it does.
type served struct {
	p        *serving
	id       string
	reg      *client.Registration
	http     *http.Server
	work     time.Duration
	capacity uint32

	mu       sync.Mutex // guards what follows
	slow     float64
	fail     bool
	hold     bool
	at       *rollcall.Position // where it is, if anywhere
	inFlight int
	heard    time.Time // when a request began or ended
	since    time.Time // the last report
	took     []float64 // milliseconds, of requests that ended since then
	errors   int       // of them
}

func (s *served) serve(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	s.mu.Lock()
	s.inFlight++
	s.heard = began
	work, fail := jitter(time.Duration(float64(s.work)*s.slow), 0.5), s.fail
	s.mu.Unlock()
	if !fail {
		select {
		case <-time.After(work):
		case <-r.Context().Done():
		}
	}
	s.mu.Lock()
	s.inFlight--
	s.heard = time.Now()
	s.took = append(s.took, milliseconds(s.heard.Sub(began)))
	if fail {
		s.errors++
	}
	s.mu.Unlock()
	if fail {
		http.Error(w, "it fails, as it was told to", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintf(w, "%s served this in %v\n", s.id, time.Since(began).Round(time.Millisecond))
}

// quiet returns when nobody has called for a while.
func (s *served) quiet(ctx context.Context) {
	s.mu.Lock()
	s.heard = time.Now()
	s.mu.Unlock()
	for {
		s.mu.Lock()
		left := quietFor - time.Since(s.heard)
		if s.inFlight > 0 {
			left = quietFor
		}
		s.mu.Unlock()
		if left <= 0 {
			return
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return
		}
	}
}

// reports reports all the time.
func (s *served) reports(ctx context.Context) {
	tick := time.NewTicker(jitter(reportEvery, 0.1))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.mu.Lock()
			if s.p.moves && !s.hold {
				at := stroll(*s.at)
				s.at = &at
			}
			s.mu.Unlock()
			s.report(ctx) // that it failed is made up for by the next one
		case <-ctx.Done():
			return
		}
	}
}

func (s *served) report(ctx context.Context) error {
	s.mu.Lock()
	r := rollcall.Report{Load: s.load(time.Now()), Position: s.at}
	s.mu.Unlock()
	return s.reg.Report(ctx, r)
}

// load returns what happened since it was called last. How busy it is on average
// follows from how long its requests took (Little's law). Its caller holds mu.
func (s *served) load(now time.Time) *rollcall.Load {
	seconds := now.Sub(s.since).Seconds()
	if s.since.IsZero() {
		seconds = reportEvery.Seconds()
	}
	l := &rollcall.Load{InFlight: s.inFlight, RPS: float64(len(s.took)) / seconds, Errors: float64(s.errors) / seconds}
	if n := len(s.took); n > 0 {
		busy := 0.0
		for _, ms := range s.took {
			busy += ms / 1000 / seconds
		}
		if s.capacity > 0 {
			l.Utilization = busy / float64(s.capacity)
		}
		slices.Sort(s.took)
		l.LatencyP50, l.LatencyP99 = s.took[n/2], s.took[n*99/100]
	}
	s.since, s.took, s.errors = now, s.took[:0], 0
	return l
}
