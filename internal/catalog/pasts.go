package catalog

import (
	"context"
	"time"

	"github.com/rollcall-registry/rollcall"
)

const (
	// keepPast is for how long the past that was made last is kept, for the next
	// page or question.
	keepPast = 30 * time.Second
	// settledPast is how old a past must be to be kept: what is being written may
	// belong to a younger one.
	settledPast = 10 * time.Second
)

// Pasts makes states of the past, which takes memory and time: one at a time, of
// which the last is kept for a while. All methods may be called by any goroutine.
type Pasts struct {
	turn chan struct{} // holds a token while somebody has what follows
	last *Snapshot
	at   time.Time // that it is of
	of   rollcall.ServiceKey
	made time.Time
}

// NewPasts returns a Pasts that keeps nothing yet.
func NewPasts() *Pasts { return &Pasts{turn: make(chan struct{}, 1)} }

// Get returns the state of a service, or with the zero key that of everything, at
// a time: the one that is kept, or what build makes. now is by the clock that at is of.
// It waits for its turn until ctx ends.
func (p *Pasts) Get(ctx context.Context, at time.Time, of rollcall.ServiceKey, now time.Time, build func() (*Snapshot, error)) (*Snapshot, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.forget()
	if p.last != nil && p.at.Equal(at) && (p.of == of || p.of == rollcall.ServiceKey{}) {
		return p.last, nil
	}
	p.last = nil // so that there are never two
	s, err := build()
	if err == nil && now.Sub(at) >= settledPast {
		p.last, p.at, p.of, p.made = s, at, of, time.Now()
	}
	return s, err
}

// forget lets go of a state that was kept for long enough. It is the caller's turn.
func (p *Pasts) forget() {
	if p.last != nil && time.Since(p.made) >= keepPast {
		p.last = nil
	}
}

// Sweep has a state forgotten that nobody asks for any more. It is to be called now
// and then, and does not wait.
func (p *Pasts) Sweep() {
	select {
	case p.turn <- struct{}{}:
		p.forget()
		<-p.turn
	default:
	}
}
