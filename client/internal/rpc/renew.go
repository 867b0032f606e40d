package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// renewals is the stream on which leases of mode ttl are renewed. Each message is
// answered by one, in order. What piles up while one is being written goes into
// the next together.
type renewals struct {
	*stream[rollcallpb.RenewRequest, rollcallpb.RenewResponse]
	wake chan struct{} // there is something to write

	mu      sync.Mutex
	waiting []*beat   // to be written
	sent    [][]*beat // to be answered
	answers uint64    // how many came
	missing time.Time // when one did not come in time first, since the last that came
	failure error     // why the stream has ended
}

// beat is what one caller has to renew.
type beat struct {
	leases []*rollcallpb.Renewal
	// alone: an answer is asked for that is of no other, or one of the leases
	// says something in which fault may be found.
	alone  bool
	answer chan outcome // has room for it
}

type outcome struct {
	*rollcallpb.RenewResponse
	err error
}

// Renew implements [wire.Owner].
func (c *Client) Renew(ctx context.Context, key rollcall.Key, r *rollcall.Report) (got rollcall.Renewal, err error) {
	lease := &rollcallpb.Renewal{Service: key.Service, Id: key.ID, Namespace: key.Namespace, Report: rollcallpb.FromReport(r)}
	a, err := c.beat(ctx, &beat{leases: []*rollcallpb.Renewal{lease}, alone: lease.Report != nil})
	switch {
	case err != nil:
		return got, err
	case slices.ContainsFunc(a.GetUnknown(), func(k *rollcallpb.Key) bool { return k.Domain() == rollcall.NewKey(key.Namespace, key.Service, key.ID) }):
		return got, &rollcall.Error{Kind: rollcall.ErrNotFound, Detail: fmt.Sprintf("%v is not registered; register it again", key)}
	}
	return rollcall.Renewal{TTL: rollcall.Duration(a.GetTtl()), Revision: rollcall.Revision(a.GetRevision())}, nil
}

// RenewMany implements [wire.Owner].
func (c *Client) RenewMany(ctx context.Context, rs []rollcall.Renew) (unknown []rollcall.Key, err error) {
	for some := range slices.Chunk(rs, wire.ManyItems) {
		b := &beat{alone: true}
		for _, r := range some {
			report := rollcallpb.FromReport(&rollcall.Report{Load: r.Load, Position: r.Position})
			b.leases = append(b.leases, &rollcallpb.Renewal{Service: r.Key.Service, Id: r.Key.ID, Namespace: r.Key.Namespace, Report: report})
		}
		a, err := c.beat(ctx, b)
		if err != nil {
			return unknown, err
		}
		for _, k := range a.GetUnknown() {
			unknown = append(unknown, k.Domain())
		}
	}
	return unknown, nil
}

// beat has leases renewed at the server that answered last, or at another that
// does better.
func (c *Client) beat(ctx context.Context, b *beat) (a *rollcallpb.RenewResponse, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	for range c.servers {
		var s *renewals
		if s, err = c.renewals.get(ctx, c, c.openRenewals); err == nil {
			a, err = s.ask(ctx, b)
		}
		if err == nil || ctx.Err() != nil || !wire.Elsewhere(err) {
			break
		}
		if s != nil && len(c.servers) > 1 {
			s.retire(err)
		}
	}
	if err != nil && errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, rollcall.ErrTimeout) {
		err = wire.TimedOut("the registry", err)
	}
	return a, err
}

func (c *Client) openRenewals() (r *renewals, err error) {
	err = c.turn.Ask(c.life, func(i int) error {
		s, err := openStream(c.life, c, i, rollcallpb.RegistryClient.Renew)
		if err != nil {
			return err
		}
		r = &renewals{stream: s, wake: make(chan struct{}, 1)}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.heard(0) // who has nothing to renew hears nothing
	if err := c.task(r.read); err != nil {
		r.broken(err)
		return nil, err
	}
	return r, nil
}

// over reports whether the stream has ended.
func (r *renewals) over() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure != nil
}

// retire has the next renewals go to another server.
func (r *renewals) retire(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil {
		r.failure = why
		r.c.turn.Leave(r.server)
		r.cancel(why)
	}
}

// ask has leases renewed and returns the answer.
func (r *renewals) ask(ctx context.Context, b *beat) (*rollcallpb.RenewResponse, error) {
	b.answer = make(chan outcome, 1)
	r.mu.Lock()
	if r.failure != nil {
		defer r.mu.Unlock()
		return nil, r.failure
	}
	r.waiting = append(r.waiting, b)
	before := r.answers
	r.mu.Unlock()
	signal(r.wake)
	select {
	case o := <-b.answer:
		return o.RenewResponse, o.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			r.unanswered(before)
			return nil, wire.TimedOut(r.c.servers[r.server].Name, ctx.Err())
		}
		return nil, ctx.Err()
	}
}

// patience is for how long answers may not come before the connection is given up.
// It may be dead, and leases have not the time to find out.
const patience = 2 * time.Second

// unanswered notes that an answer did not come in time.
func (r *renewals) unanswered(before uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.answers != before:
	case r.missing.IsZero():
		r.missing = time.Now()
	case time.Since(r.missing) > patience:
		r.cancel(errUnanswered)
	}
}

// next takes what goes into one message.
func (r *renewals) next() (m *rollcallpb.RenewRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return nil
	}
	n := 1
	for n < min(len(r.waiting), wire.ManyItems) && !r.waiting[0].alone && !r.waiting[n].alone {
		n++
	}
	together := r.waiting[:n:n]
	if r.waiting = r.waiting[n:]; len(r.waiting) == 0 {
		r.waiting = nil
	}
	r.sent = append(r.sent, together)
	if n == 1 {
		return &rollcallpb.RenewRequest{Renewals: together[0].leases}
	}
	m = &rollcallpb.RenewRequest{Renewals: make([]*rollcallpb.Renewal, n)}
	for i, b := range together {
		m.Renewals[i] = b.leases[0]
	}
	return m
}

// write writes until the stream ends.
func (r *renewals) write() {
	for {
		select {
		case <-r.wake:
		case <-r.ctx.Done():
			return
		}
		for m := r.next(); m != nil; m = r.next() {
			if r.Send(m) != nil {
				return // the reader hears why
			}
		}
	}
}

// read reads until the stream ends.
func (r *renewals) read() {
	var writer sync.WaitGroup
	writer.Go(r.write)
	defer writer.Wait()
	for {
		m, err := r.Recv()
		if err == nil {
			err = r.take(m)
		}
		if err != nil {
			r.broken(r.failed(err))
			return
		}
	}
}

// take brings an answer to those whom it is for.
func (r *renewals) take(m *rollcallpb.RenewResponse) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.sent) == 0 {
		return errors.New("the server answered what nobody asked")
	}
	o := outcome{RenewResponse: m}
	if e := m.GetError(); e != nil {
		o.err = e.Domain()
	}
	for _, b := range r.sent[0] {
		b.answer <- o
	}
	r.sent[0] = nil
	if r.sent = r.sent[1:]; len(r.sent) == 0 {
		r.sent = nil
	}
	r.answers++
	r.missing = time.Time{}
	return nil
}

func (r *renewals) broken(why error) {
	if wire.Elsewhere(why) {
		r.c.turn.Leave(r.server)
	}
	r.end(why)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = why
	for _, b := range slices.Concat(append(r.sent, r.waiting)...) {
		b.answer <- outcome{err: why}
	}
	r.sent, r.waiting = nil, nil
}
