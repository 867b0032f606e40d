// Package grpcresolver lets gRPC clients call services by name:
//
//	conn, err := grpc.NewClient("rollcall:///payments", grpcresolver.DialOption(c), creds)
//
// The path is a service, "payments" or "shop/payments" with a namespace. A query may
// follow: port is the name of the instances' port, without which it is the one called
// "grpc", else "default", or the only one; filter, cap.NAME and meta.NAME select
// instances as they do elsewhere: "rollcall:///payments?port=admin&cap.canary=true".
//
// Each connection has a resolver, which follows a subscription of the client, and a
// balancer, which is connected to all instances that the subscription tells of (see
// client.WithSubset if these are too many) and sends each call to the one that is
// picked as by Client.Pick. An instance that drains gets no new calls, and the
// connection to it is closed once those under way are over. What becomes of calls is
// told to the picker: those that end with Unavailable, Internal, Unknown,
// ResourceExhausted, DataLoss or DeadlineExceeded blame the instance, a cancelled one
// blames nobody, and load reports in trailers are read. So is an instance to blame to
// which no connection can be had.
//
// gRPC by itself sends a call again that no server has seen; which others may be is
// for the application to say: see [Idempotent]. While nobody can be called, calls fail
// with Unavailable and the reason, unless they wait for a server to be ready.
//
// The package registers the balancer under the name "rollcall" when it is imported,
// because gRPC has no other way for a balancer to be known. It holds no other state.
package grpcresolver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/serviceconfig"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
)

// Scheme is that of targets.
const Scheme = "rollcall"

// patience is how long calls wait for the first that is heard of a service.
const patience = 5 * time.Second

// Option changes what [DialOption] returns.
type Option func(*builder)

// Idempotent names methods, "pkg.Service/Method", or whole services, "pkg.Service",
// whose calls may be carried out twice. They are sent again, up to twice, if they end
// with Unavailable, for as long as no more than about a fifth of the calls fail.
func Idempotent(methods ...string) Option {
	return func(b *builder) { b.idempotent = append(b.idempotent, methods...) }
}

// DialOption has targets of the scheme rollcall resolved by c, which must outlive the
// connection. A default service config is not used for them.
func DialOption(c *client.Client, opts ...Option) grpc.DialOption {
	b := &builder{c: c}
	for _, o := range opts {
		o(b)
	}
	return grpc.WithResolvers(b)
}

type builder struct {
	c          *client.Client
	idempotent []string
}

func (b *builder) Scheme() string { return Scheme }

// OverrideAuthority has calls go to, and certificates hold for, the service's name.
func (b *builder) OverrideAuthority(target resolver.Target) string {
	path := strings.Trim(target.Endpoint(), "/")
	return url.PathEscape(path[strings.LastIndexByte(path, '/')+1:])
}

// Build begins to resolve a target.
func (b *builder) Build(target resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	q, port, err := parse(&target.URL)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", &target.URL, err)
	}
	config := cc.ParseServiceConfig(serviceConfig(b.idempotent))
	if config.Err != nil {
		return nil, config.Err
	}
	sub, err := b.c.Subscribe(q)
	if err != nil {
		return nil, err
	}
	r := &watcher{c: b.c, q: q, port: port, sub: sub, cc: cc, config: config, done: make(chan struct{})}
	ctx, end := context.WithCancel(context.Background())
	r.end = end
	go r.run(ctx)
	return r, nil
}

// parse reads a target.
func parse(u *url.URL) (q rollcall.Query, port string, err error) {
	path := strings.TrimPrefix(u.Path, "/")
	if path == "" {
		path = u.Opaque
	}
	if u.Host != "" || u.User != nil || u.Fragment != "" || path == "" {
		return q, "", errors.New("a target is written rollcall:///SERVICE or rollcall:///NAMESPACE/SERVICE")
	}
	q.Service = path
	if namespace, service, ok := strings.Cut(path, "/"); ok {
		q.Namespace, q.Service = namespace, service
		if err := rollcall.CheckName("namespace", namespace); err != nil {
			return q, "", err
		}
	}
	if err := rollcall.CheckName("service", q.Service); err != nil {
		return q, "", err
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return q, "", err
	}
	for name, all := range values {
		capability, isCap := strings.CutPrefix(name, "cap.")
		metadata, isMeta := strings.CutPrefix(name, "meta.")
		for _, v := range all {
			switch {
			case name == "port":
				port = v
			case name == "filter":
				q.Filter = v
			case isCap:
				q.Capability = append(q.Capability, rollcall.Match{Name: capability, Value: v})
			case isMeta:
				q.Metadata = append(q.Metadata, rollcall.Match{Name: metadata, Value: v})
			default:
				return q, "", rollcall.Invalid(name, "is not known in a target; port, filter, cap.NAME and meta.NAME are")
			}
		}
	}
	return q, port, nil
}

// serviceConfig names the balancer and the methods that may be carried out twice.
func serviceConfig(idempotent []string) string {
	type object = map[string]any
	config := object{"loadBalancingConfig": []object{{balancerName: object{}}}}
	if len(idempotent) > 0 {
		var names []object
		for _, m := range idempotent {
			service, method, _ := strings.Cut(strings.TrimPrefix(m, "/"), "/")
			names = append(names, object{"service": service, "method": method})
		}
		config["methodConfig"] = []object{{"name": names, "retryPolicy": object{
			"maxAttempts": 3, "initialBackoff": "0.01s", "maxBackoff": "0.1s", "backoffMultiplier": 2,
			"retryableStatusCodes": []string{"UNAVAILABLE"},
		}}}
		// A retry is spent on each failure, and a fifth of one earned by each success.
		config["retryThrottling"] = object{"maxTokens": 20, "tokenRatio": 0.2}
	}
	text, _ := json.Marshal(config) // of maps and strings
	return string(text)
}

// watcher tells gRPC which instances there are.
type watcher struct {
	c      *client.Client
	q      rollcall.Query
	port   string
	sub    *client.Subscription
	cc     resolver.ClientConn
	config *serviceconfig.ParseResult
	end    context.CancelFunc
	done   chan struct{}
	told   []place
}

// place is where instances are: one, unless several registered the same address.
type place struct{ address, ids string }

// ResolveNow does nothing: what is new is told as soon as it is known.
func (r *watcher) ResolveNow(resolver.ResolveNowOptions) {}

// Close ends the subscription.
func (r *watcher) Close() {
	r.end()
	<-r.done
	r.sub.Close()
}

func (r *watcher) run(ctx context.Context) {
	defer close(r.done)
	v, err := r.first(ctx)
	for err == nil {
		r.tell(ctx, v)
		select {
		case <-r.sub.Changed(v):
			v = r.sub.View()
		case <-ctx.Done():
			return
		}
	}
}

// first waits until something is known, and says from time to time why it is not.
func (r *watcher) first(ctx context.Context) (*client.View, error) {
	for {
		within, cancel := context.WithTimeout(ctx, patience)
		v, err := r.sub.Ready(within)
		if err == nil || ctx.Err() != nil {
			cancel()
			return v, err
		}
		r.cc.ReportError(err)
		select {
		case <-r.sub.Changed(v):
		case <-within.Done():
		}
		cancel()
	}
}

// tell tells gRPC of a view, unless its instances are those that it knows.
func (r *watcher) tell(ctx context.Context, v *client.View) {
	places, err := r.places(v)
	if len(places) == 0 && err == nil {
		err = r.nobody(ctx)
	}
	if err != nil {
		r.cc.ReportError(err)
	}
	if slices.Equal(places, r.told) || len(places) == 0 && err != nil && r.told == nil {
		return
	}
	r.told = places
	state := resolver.State{ServiceConfig: r.config, Attributes: attributes.New(subscriptionKey{}, r.sub)}
	for _, p := range places {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{
			Addresses:  []resolver.Address{{Addr: p.address}},
			Attributes: attributes.New(idsKey{}, p.ids),
		})
	}
	r.cc.UpdateState(state) // an error asks for what will be told anyway
}

// nobody says why there is no instance. The registry tells a service that has none
// from one that it does not know.
func (r *watcher) nobody(ctx context.Context) error {
	q := r.q
	q.Health = rollcall.HealthAny
	if _, err := r.c.Resolve(ctx, q); errors.Is(err, rollcall.ErrNotFound) {
		return err
	}
	p, err := r.sub.Pick()
	if err == nil { // there is one by now
		p.Done(context.Canceled)
	}
	return err
}

// places returns where the instances of a view are. Those that lack the port are left
// out; if all do, it says so.
func (r *watcher) places(v *client.View) (places []place, lacking error) {
	at := map[string]int{}
	instances := v.Instances()
	for n := range instances {
		i := &instances[n]
		port, ok := portOf(i, r.port)
		if !ok {
			lacking = rollcall.Invalid("port", fmt.Sprintf("instance %s of %s has no port %q; the target can name another: ?port=NAME", i.ID, i.Service, r.port))
			continue
		}
		address := net.JoinHostPort(i.Address, strconv.Itoa(int(port)))
		if n, ok := at[address]; ok {
			places[n].ids += idsSeparator + i.ID
			continue
		}
		at[address] = len(places)
		places = append(places, place{address, i.ID})
	}
	if len(places) > 0 {
		lacking = nil
	}
	return places, lacking
}

// portOf returns the port of a name; for "", what gRPC is most likely spoken on.
func portOf(i *rollcall.Instance, name string) (uint16, bool) {
	if name != "" {
		p, ok := i.Ports[name]
		return p, ok
	}
	for _, name := range []string{"grpc", rollcall.DefaultPort} {
		if p, ok := i.Ports[name]; ok {
			return p, true
		}
	}
	if len(i.Ports) == 1 {
		for _, p := range i.Ports {
			return p, true
		}
	}
	return 0, false
}
