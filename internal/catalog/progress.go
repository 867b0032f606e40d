package catalog

import (
	"context"
	"sync"

	"github.com/rollcall-registry/rollcall"
)

// Progress lets goroutines wait for a revision to be published. The zero Progress
// is before all.
type Progress struct {
	mu      sync.Mutex
	started bool
	at      rollcall.Revision
	moved   chan struct{} // closed at the next step; nil if nobody waits
}

// Advance says that a revision is published.
func (p *Progress) Advance(to rollcall.Revision) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started, p.at = true, to
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}

// Wait returns once the revision has been reached.
func (p *Progress) Wait(ctx context.Context, rev rollcall.Revision) error {
	for {
		p.mu.Lock()
		if p.started && p.at >= rev {
			p.mu.Unlock()
			return nil
		}
		if p.moved == nil {
			p.moved = make(chan struct{})
		}
		moved := p.moved
		p.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
