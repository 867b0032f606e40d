package grpcresolver

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/base"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/client/internal/orca"
)

const balancerName = "rollcall"

func init() { balancer.Register(balancers{}) }

// How the resolver tells the balancer what to pick with, and who is where.
type (
	subscriptionKey struct{}
	idsKey          struct{}
)

const idsSeparator = "\n" // is in no id

// streamAfter is how long a call lasts at most that is taken for one request, whose
// length says something of the instance.
const streamAfter = 30 * time.Second

type balancers struct{}

func (balancers) Name() string { return balancerName }

func (balancers) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	b := &connections{ClientConn: cc}
	b.Balancer = endpointsharding.NewBalancer(b, opts, balancer.Get(pickfirst.Name).Build, endpointsharding.Options{})
	return b
}

// connections keeps a connection to each instance, by one child balancer each, and
// makes pickers of the states that these are in. It stands between gRPC and the
// children, in both directions.
type connections struct {
	balancer.ClientConn
	balancer.Balancer
	sub    atomic.Pointer[client.Subscription]
	failed atomic.Pointer[error] // why the resolver knows nobody
}

var errNoSubscription = errors.New("the balancer called rollcall is for targets of that scheme, and for grpcresolver.DialOption")

func (c *connections) UpdateClientConnState(s balancer.ClientConnState) error {
	sub, ok := s.ResolverState.Attributes.Value(subscriptionKey{}).(*client.Subscription)
	if !ok {
		c.ClientConn.UpdateState(balancer.State{ConnectivityState: connectivity.TransientFailure, Picker: base.NewErrPicker(errNoSubscription)})
		return errNoSubscription
	}
	c.sub.Store(sub)
	if len(s.ResolverState.Endpoints) > 0 {
		c.failed.Store(nil)
	}
	err := c.Balancer.UpdateClientConnState(balancer.ClientConnState{ResolverState: pickfirst.EnableHealthListener(s.ResolverState)})
	if errors.Is(err, balancer.ErrBadResolverState) {
		return nil // to ask again would not change that there is nobody
	}
	return err
}

func (c *connections) ResolverError(err error) {
	c.failed.Store(&err)
	c.Balancer.ResolverError(err)
}

// UpdateState takes in the children's states.
func (c *connections) UpdateState(s balancer.State) {
	p := &picker{sub: c.sub.Load(), conns: map[string]conn{}, any: s.Picker}
	children := endpointsharding.ChildStatesFromPicker(s.Picker)
	for _, child := range children {
		ids, _ := child.Endpoint.Attributes.Value(idsKey{}).(string)
		for id := range strings.SplitSeq(ids, idsSeparator) {
			p.conns[id] = conn{child.State.Picker, child.State.ConnectivityState}
			if child.State.ConnectivityState == connectivity.Ready {
				p.ready++
			} else {
				p.unready = append(p.unready, id)
			}
		}
	}
	if len(children) == 0 {
		if err := c.failed.Load(); err != nil {
			p.err = *err
		}
	}
	c.ClientConn.UpdateState(balancer.State{ConnectivityState: s.ConnectivityState, Picker: p})
}

// conn is the connection to an instance.
type conn struct {
	balancer.Picker
	state connectivity.State
}

// picker picks among the connections that there were when it was made. It is not
// changed after that.
type picker struct {
	sub     *client.Subscription
	conns   map[string]conn // by the instance's id
	ready   int             // how many are
	unready []string        // the ids of the others
	any     balancer.Picker // picks one that is ready, or says why there is none
	err     error           // why there are none at all
}

// Pick implements [balancer.Picker]. As long as not all are connected, whose turn it is
// may not be.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	switch {
	case p.err != nil:
		return balancer.PickResult{}, p.err
	case p.ready == 0:
		return p.any.Pick(info)
	}
	pick, err := p.sub.Pick()
	if err != nil {
		return balancer.PickResult{}, err
	}
	for range 2 {
		to := p.conns[pick.Instance().ID]
		if to.state == connectivity.Ready {
			return send(pick, to, info)
		}
		pick.Done(blame(to, info))
		if pick, err = p.sub.PickOther(p.unready...); err != nil {
			return balancer.PickResult{}, err
		}
	}
	pick.Done(context.Canceled)
	return p.any.Pick(info)
}

// blame says why an instance cannot be sent a call: it is to blame if a connection was
// tried and failed.
func blame(to conn, info balancer.PickInfo) error {
	if to.state == connectivity.TransientFailure {
		if _, err := to.Pick(info); err != nil {
			return err
		}
	}
	return context.Canceled
}

// send sends a call to who was picked.
func send(pick client.Pick, to conn, info balancer.PickInfo) (balancer.PickResult, error) {
	result, err := to.Pick(info)
	if err != nil {
		pick.Done(context.Canceled)
		return result, err
	}
	began, done := time.Now(), result.Done
	result.Done = func(info balancer.DoneInfo) {
		if done != nil {
			done(info)
		}
		load(pick, info.Trailer)
		pick.Done(outcome(info, time.Since(began)))
	}
	return result, nil
}

// outcome says what a call shows of its instance: an error if that is to blame, and
// [context.Canceled] if nothing.
func outcome(info balancer.DoneInfo, took time.Duration) error {
	if info.Err == nil || info.Err == io.EOF {
		if !info.BytesSent || took > streamAfter {
			return context.Canceled
		}
		return nil
	}
	switch status.Code(info.Err) {
	case codes.Canceled:
		return context.Canceled
	case codes.Unavailable, codes.Internal, codes.Unknown, codes.ResourceExhausted, codes.DataLoss, codes.DeadlineExceeded:
		if !info.BytesSent { // the connection had just ended, and gRPC sends the call elsewhere
			return context.Canceled
		}
		return info.Err
	}
	return nil
}

// load passes on what a trailer says of the load.
func load(pick client.Pick, trailer metadata.MD) {
	said := trailer[orca.Trailer]
	if len(said) == 0 {
		return
	}
	if r, err := orca.ParseBinary([]byte(said[0])); err == nil {
		if n, took, ok := r.Answer(); ok {
			pick.Loaded(n, took)
		}
	}
}
