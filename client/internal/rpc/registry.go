package rpc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// Put implements [wire.Owner].
func (c *Client) Put(ctx context.Context, inst *rollcall.Instance) (rollcall.Instance, error) {
	q := &rollcallpb.RegisterRequest{Instances: []*rollcallpb.Instance{rollcallpb.FromInstance(inst)}}
	a, err := call(ctx, c, 0, q, rollcallpb.RegistryClient.Register)
	if err != nil {
		return rollcall.Instance{}, err
	}
	if len(a.GetResults()) != 1 {
		return rollcall.Instance{}, fmt.Errorf("the server answered for %d instances of one", len(a.GetResults()))
	}
	return registered(a.GetResults()[0])
}

// registered returns what a single instance was registered as.
func registered(m *rollcallpb.Registered) (rollcall.Instance, error) {
	switch {
	case m.GetError() != nil:
		return rollcall.Instance{}, m.GetError().Domain()
	case m.GetInstance() == nil:
		return rollcall.Instance{}, errors.New("the server did not say what it registered")
	}
	return m.GetInstance().Domain()
}

// manyBytes bounds a request of many instances, below what a server takes.
const manyBytes = 3 << 20

// PutMany implements [wire.Owner].
func (c *Client) PutMany(ctx context.Context, all []rollcall.Instance) ([]rollcall.Registration, error) {
	results := make([]rollcall.Registration, 0, len(all))
	for len(results) < len(all) {
		some := all[len(results):]
		q := new(rollcallpb.RegisterRequest)
		for size := 0; len(q.Instances) < min(len(some), wire.ManyItems) && size < manyBytes; {
			m := rollcallpb.FromInstance(&some[len(q.Instances)])
			q.Instances = append(q.Instances, m)
			size += proto.Size(m)
		}
		some = some[:len(q.Instances)]
		a, err := call(ctx, c, 0, q, rollcallpb.RegistryClient.Register)
		switch {
		case len(some) == 1 && ofInstance(err): // which is the call's for one alone
			results = append(results, rollcall.Registration{Key: some[0].Key(), Err: err})
			continue
		case err != nil:
			return results, err
		case len(a.GetResults()) != len(some):
			return results, fmt.Errorf("the server answered for %d of %d instances", len(a.GetResults()), len(some))
		}
		for n, m := range a.GetResults() {
			r := rollcall.Registration{Key: some[n].Key(), Created: m.GetCreated(), Revision: rollcall.Revision(m.GetRevision())}
			if e := m.GetError(); e != nil {
				r.Err = e.Domain()
			}
			results = append(results, r)
		}
	}
	return results, nil
}

// ofInstance reports whether an error blames the instance.
func ofInstance(err error) bool {
	for _, kind := range []error{rollcall.ErrInvalid, rollcall.ErrTooLarge, rollcall.ErrUnsupported, rollcall.ErrConflict} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// Deregister implements [wire.Owner].
func (c *Client) Deregister(ctx context.Context, key rollcall.Key) error {
	_, err := call(ctx, c, 0, &rollcallpb.DeregisterRequest{Key: rollcallpb.FromKey(key)}, rollcallpb.RegistryClient.Deregister)
	return err
}

// Drain implements [wire.Owner].
func (c *Client) Drain(ctx context.Context, key rollcall.Key, wait time.Duration) (b rollcall.Barrier, err error) {
	q := &rollcallpb.DrainRequest{Key: rollcallpb.FromKey(key), Wait: int64(max(wait, 0))}
	a, err := call(ctx, c, wait, q, rollcallpb.RegistryClient.Drain)
	if err != nil {
		return b, err
	}
	return rollcall.Barrier{Acknowledged: int(a.GetAcknowledged()), Pending: int(a.GetPending()), Elapsed: rollcall.Duration(a.GetElapsed())}, nil
}

// Resolve implements [wire.Caller].
func (c *Client) Resolve(ctx context.Context, q *rollcall.Query) (ans rollcall.Answer, err error) {
	a, err := call(ctx, c, q.Wait, &rollcallpb.ResolveRequest{Query: rollcallpb.FromQuery(q)}, rollcallpb.RegistryClient.Resolve)
	if err != nil {
		return ans, err
	}
	return a.Domain()
}

// Why implements [wire.Caller].
func (c *Client) Why(ctx context.Context, q *rollcall.Query, id string) (x rollcall.Explanation, err error) {
	a, err := call(ctx, c, 0, &rollcallpb.WhyRequest{Query: rollcallpb.FromQuery(q), Id: id}, rollcallpb.RegistryClient.Why)
	if err != nil {
		return x, err
	}
	return a.Domain(), nil
}

// Observe implements [wire.Caller].
func (c *Client) Observe(ctx context.Context, key rollcall.ServiceKey, r *rollcall.CallerReport) error {
	_, err := call(ctx, c, 0, rollcallpb.FromCallerReport(key, r), rollcallpb.RegistryClient.Report)
	return err
}
