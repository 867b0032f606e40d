package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
	"github.com/rollcall-registry/rollcall/internal/server"
)

// The tests here hold the client against a real server.

// protocol is one of those that a client speaks.
type protocol string

const (
	overHTTP protocol = "http"
	overGRPC protocol = "grpc"
)

// over runs a test with each protocol.
func over(t *testing.T, test func(t *testing.T, p protocol)) {
	for _, p := range []protocol{overHTTP, overGRPC} {
		t.Run(string(p), func(t *testing.T) { test(t, p) })
	}
}

// address returns where a server speaks p.
func (p protocol) address(s *rollcalltest.Server) string {
	if p == overGRPC {
		return "grpc://" + s.GRPC
	}
	return s.Addr
}

// start returns a client of a server of its own.
func (p protocol) start(t *testing.T) *client.Client {
	t.Helper()
	return dial(t, p.address(rollcalltest.Start(t)))
}

// start returns a client of gRPC, of a server of its own, where one protocol is
// enough.
func start(t *testing.T) *client.Client { return overGRPC.start(t) }

func dial(t *testing.T, addr string) *client.Client {
	t.Helper()
	c, err := client.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func whole() rollcall.Instance {
	return rollcall.Instance{
		Namespace: "shop", Service: "Payments", ID: "p/1 %?", Address: "10.0.3.17",
		Ports: map[string]uint16{"http": 8080, "grpc": 9090}, Version: "2.4.1", Node: "host-17",
		Locality: rollcall.Locality{Region: "eu", Zone: "eu-1a", SubZone: "rack-12"},
		Position: &rollcall.Position{Lat: 52.52, Lon: 13.4},
		Capabilities: map[string]rollcall.Value{
			"gpu": rollcall.Number(2), "codecs": rollcall.Strings("h264", "av1"),
			"canary": rollcall.Bool(true), "engine": rollcall.String("v8"),
		},
		Metadata: map[string]string{"team": "checkout <&>"}, Weight: new(uint16(0)), Capacity: 200,
		Warmup: rollcall.Duration(30 * time.Second),
		Lease:  rollcall.Lease{Mode: rollcall.LeaseTTL, TTL: rollcall.Duration(20 * time.Second), RemoveAfter: rollcall.Duration(2 * time.Minute)},
		Checks: []rollcall.Check{{Name: "queue", Type: rollcall.CheckTTL, TTL: rollcall.Duration(time.Minute)}},
	}
}

func TestInstanceRoundTrip(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		c := p.start(t)
		put, err := c.Put(t.Context(), whole())
		if err != nil {
			t.Fatal(err)
		}
		key := put.Key()
		got, err := c.Instance(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		theirs := cmpopts.IgnoreFields(rollcall.Instance{}, "Health", "Origin", "Revision", "Incarnation", "RegisteredAt", "EffectiveWeight")
		if d := cmp.Diff(whole(), got, theirs); d != "" {
			t.Errorf("registered and read back (-want +got):\n%s", d)
		}
		if got.Revision == 0 || got.Incarnation == 0 || got.RegisteredAt.IsZero() || got.Health == nil {
			t.Errorf("the registry adds: %+v", got)
		}
		for _, id := range []string{".", "..", "~", "a;b", "a+b", "a b", "%2F", `"`} {
			odd := rollcall.Instance{Service: "odd", ID: id, Lease: rollcall.Lease{Mode: rollcall.LeaseNone}}
			put, err := c.Put(t.Context(), odd)
			if err != nil {
				t.Errorf("id %q: %v", id, err)
				continue
			}
			if put.Weight == nil || *put.Weight != rollcall.DefaultWeight {
				t.Errorf("registered without a weight it has %v", put.Weight)
			}
			if got, err := c.Instance(t.Context(), odd.Key()); err != nil || got.ID != id {
				t.Errorf("id %q: got %q, %v", id, got.ID, err)
			}
		}
		if err := c.Deregister(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		if err := c.Deregister(t.Context(), key); err != nil {
			t.Errorf("deregistered twice: %v", err)
		}
		_, err = c.Instance(t.Context(), key)
		wantKind(t, err, rollcall.ErrNotFound)
	})
}

func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error %v, want of kind %v", err, kind)
	}
}

func TestHeartbeatAndReport(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		c := p.start(t)
		put, err := c.Put(t.Context(), whole())
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Heartbeat(t.Context(), put.Key(), rollcall.Report{
			Status: rollcall.Degraded, Note: "slow", Load: &rollcall.Load{RPS: 12},
			Checks: map[string]rollcall.CheckReport{"queue": {Status: rollcall.Healthy}},
		})
		if err != nil || time.Duration(r.TTL) != 20*time.Second || r.Revision != put.Revision {
			t.Fatalf("renewal %+v, %v", r, err)
		}
		until(t, func() bool {
			got, err := c.Instance(t.Context(), put.Key())
			return err == nil && got.Health.Status == rollcall.Degraded
		})
		_, err = c.Heartbeat(t.Context(), put.Key(), rollcall.Report{Load: &rollcall.Load{RPS: -1}})
		wantKind(t, err, rollcall.ErrInvalid)
		_, err = c.Heartbeat(t.Context(), rollcall.NewKey("", "payments", "nobody"), rollcall.Report{})
		wantKind(t, err, rollcall.ErrNotFound)

		nobody := rollcall.NewKey("shop", "payments", "nobody")
		unknown, err := c.RenewMany(t.Context(), []rollcall.Renew{{Key: put.Key()}, {Key: nobody}})
		if err != nil || !slices.Equal(unknown, []rollcall.Key{nobody}) {
			t.Errorf("unknown %v, %v", unknown, err)
		}
	})
}

// until waits for what the registry does soon after it answered.
func until(t *testing.T, ok func() bool, what ...func() string) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for late := time.After(10 * time.Second); !ok(); {
		select {
		case <-ticker.C:
		case <-late:
			for _, say := range what {
				t.Error(say())
			}
			t.Fatal("it did not come to that")
		}
	}
}

func TestRegisterManyAndListings(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		c := p.start(t)
		var all []rollcall.Instance
		for i := range 2500 {
			all = append(all, rollcall.Instance{
				Service: fmt.Sprintf("svc-%04d", i/2), ID: fmt.Sprint(i), Node: fmt.Sprintf("n%d", i%2),
				Address: "10.0.0.1", Lease: rollcall.Lease{Mode: rollcall.LeaseNone},
			})
		}
		all[7].Lease.Mode = "bogus"
		results, err := c.RegisterMany(t.Context(), all)
		if err != nil || len(results) != len(all) {
			t.Fatalf("%d results, %v", len(results), err)
		}
		for i, r := range results {
			if i == 7 {
				wantKind(t, r.Err, rollcall.ErrInvalid)
			} else if r.Err != nil || !r.Created || r.Revision == 0 || r.Key != all[i].Key() {
				t.Fatalf("result %d: %+v", i, r)
			}
		}
		n := 0
		for s, err := range c.Services(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf("svc-%04d", n); s.Service != want || s.Instances == 0 || s.Routable != s.Instances {
				t.Fatalf("service %d: %+v, want %s", n, s, want)
			}
			n++
		}
		if n != 1250 {
			t.Errorf("%d services, want 1250", n)
		}
		n = 0
		for i, err := range c.Instances(t.Context(), rollcall.InstanceFilter{Node: "n0"}) {
			if err != nil || i.Node != "n0" {
				t.Fatal(i, err)
			}
			n++
		}
		if n != 1250 {
			t.Errorf("%d instances on n0, want 1250", n)
		}
	})
}

func TestResolve(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		c := p.start(t)
		_, err := c.Resolve(t.Context(), rollcall.Query{Service: "web"})
		wantKind(t, err, rollcall.ErrNotFound)
		for i := range 3 {
			inst := rollcall.Instance{Service: "web", ID: fmt.Sprint(i), Capabilities: map[string]rollcall.Value{"n": rollcall.Number(float64(i))}}
			if _, err := c.Put(t.Context(), inst); err != nil {
				t.Fatal(err)
			}
		}
		ans, err := c.Resolve(t.Context(), rollcall.Query{Service: "WEB", Capability: []rollcall.Match{{Name: "n", Value: "1"}}})
		if err != nil || len(ans.Instances) != 1 || ans.Instances[0].ID != "1" || ans.Token.IsZero() {
			t.Fatalf("%+v, %v", ans, err)
		}
		changed := make(chan rollcall.Answer, 1)
		go func() {
			got, _ := c.Resolve(t.Context(), rollcall.Query{Service: "web", After: ans.Token, Wait: 30 * time.Second})
			changed <- got
		}()
		if err := c.Deregister(t.Context(), rollcall.NewKey("", "web", "1")); err != nil {
			t.Fatal(err)
		}
		if got := <-changed; got.Revision <= ans.Revision || len(got.Instances) != 2 {
			t.Errorf("after a change: %+v", got)
		}
		_, err = c.Resolve(t.Context(), rollcall.Query{Service: "web", Health: "sick"})
		wantKind(t, err, rollcall.ErrInvalid)
	})
}

// Everything that a query may select by reaches the server, whoever asks it.
func TestSelection(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		c := p.start(t)
		for id, lon := range map[string]float64{"a": 1, "b": 2, "c": 3} {
			inst := rollcall.Instance{Service: "web", ID: id, Position: &rollcall.Position{Lon: lon}, Capabilities: map[string]rollcall.Value{"n": rollcall.Number(lon)}}
			if _, err := c.Put(t.Context(), inst); err != nil {
				t.Fatal(err)
			}
		}
		for want, q := range map[string]rollcall.Query{
			"b c":   {Filter: `cap.n >= 2 && id != "a b&c"`},
			"c b":   {Near: "0,3.1", Limit: 2},
			"a b c": {Subset: "me", SubsetSize: 12},
			"a":     {Pick: 1, Filter: `id == "a"`},
		} {
			q.Service = "web"
			ans, err := c.Resolve(t.Context(), q)
			got := ""
			for _, i := range ans.Instances {
				got += " " + i.ID
			}
			if err != nil || got[1:] != want {
				t.Errorf("%+v is answered with%s, %v; want %s", q, got, err, want)
			}
			x, err := c.Why(t.Context(), q, "a")
			if err != nil || len(x.Instances) != 1 || x.Instances[0].In != strings.Contains(want, "a") || x.Instances[0].Why == "" {
				t.Errorf("%+v is explained with %+v, %v", q, x.Instances, err)
			}
		}
		_, err := c.Resolve(t.Context(), rollcall.Query{Service: "web", Filter: "cap.n >"})
		wantKind(t, err, rollcall.ErrInvalid)

		if _, err := c.PutQuery(t.Context(), rollcall.NamedQuery{Name: "front", Service: "web", Near: "0,0", Limit: 1}, 0); err != nil {
			t.Fatal(err)
		}
		var told []string
		for ev, err := range c.Watch(t.Context(), rollcall.Query{Service: "front"}) {
			if err != nil {
				t.Fatal(err)
			}
			switch ev.Type {
			case client.EventSnapshot:
				if len(ev.Instances) != 1 || ev.Instances[0].Service != "web" || ev.Instances[0].Distance == nil {
					t.Fatalf("the nearest is %+v", ev.Instances)
				}
				if err := c.Deregister(t.Context(), rollcall.NewKey("", "web", "a")); err != nil {
					t.Fatal(err)
				}
				continue
			case client.EventRemove:
				told = append(told, "remove "+ev.Namespace+"/"+ev.Service+"/"+ev.ID)
				continue
			case client.EventPut:
				told = append(told, "put "+ev.Instance.Key().String())
			default:
				continue
			}
			break
		}
		if want := []string{"remove default/web/a", "put default/web/b"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

func TestOperatorsCalls(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		c := p.start(t)
		ctx := t.Context()
		put, err := c.Put(ctx, rollcall.Instance{Service: "web", ID: "w"})
		if err != nil {
			t.Fatal(err)
		}
		key := put.Key()
		status := func(want rollcall.Status) {
			t.Helper()
			until(t, func() bool {
				got, err := c.Instance(ctx, key)
				return err == nil && got.Health.Status == want
			})
		}
		if _, err := c.Drain(ctx, key, 0); err != nil {
			t.Fatal(err)
		}
		status(rollcall.Draining)
		if err := c.EndDrain(ctx, key); err != nil {
			t.Fatal(err)
		}
		status(rollcall.Healthy)
		watched := make(chan bool, 100)
		watching, stop := context.WithCancel(ctx)
		go func() {
			for range c.Watch(watching, rollcall.Query{Service: "web", Caller: "tester"}) {
				watched <- true
			}
			close(watched)
		}()
		<-watched
		ws, err := c.Watchers(ctx, key.ServiceKey)
		if err != nil || len(ws) != 1 || ws[0].Caller != "tester" || ws[0].Door != string(p) {
			t.Errorf("watchers %+v, %v", ws, err)
		}
		drained, err := c.Drain(ctx, key, 20*time.Second)
		if err != nil || drained.Acknowledged != 1 || drained.Pending != 0 {
			t.Errorf("drained: %+v, %v", drained, err)
		}
		stop()
		for range watched {
		}
		if err := c.EndDrain(ctx, key); err != nil {
			t.Fatal(err)
		}

		expires := time.Now().Add(time.Hour)
		if err := c.Override(ctx, key, rollcall.Override{Status: rollcall.Unhealthy, Reason: "bad disk", Expires: &expires}); err != nil {
			t.Fatal(err)
		}
		status(rollcall.Unhealthy)
		if err := c.ClearOverride(ctx, key); err != nil {
			t.Fatal(err)
		}
		status(rollcall.Healthy)

		ttl := rollcall.Duration(5 * time.Second)
		if err := c.PutSettings(ctx, key.ServiceKey, rollcall.Settings{DNSTTL: &ttl}); err != nil {
			t.Fatal(err)
		}
		s, err := c.Settings(ctx, key.ServiceKey)
		if err != nil || s.DNSTTL == nil || *s.DNSTTL != ttl {
			t.Errorf("settings %+v, %v", s, err)
		}
		if err := c.ClearSettings(ctx, key.ServiceKey); err != nil {
			t.Fatal(err)
		}

		q, err := c.PutQuery(ctx, rollcall.NamedQuery{Namespace: "shop", Name: "Web", Failover: []rollcall.QueryTarget{{Service: "w2"}}}, 0)
		if err != nil || q.Revision == 0 || q.Service != "Web" || q.By == "" {
			t.Fatalf("query %+v, %v", q, err)
		}
		if _, err := c.PutQuery(ctx, q, q.Revision+1); !errors.Is(err, rollcall.ErrPrecondition) {
			t.Errorf("over another revision: %v", err)
		}
		q.Limit = 3
		q, err = c.PutQuery(ctx, q, q.Revision)
		got, errGet := c.Query(ctx, q.Key())
		if diff := cmp.Diff(q, got); err != nil || errGet != nil || diff != "" || got.Limit != 3 {
			t.Error(err, errGet, diff)
		}
		for _, namespace := range []string{"", "shop", "none"} {
			var listed []rollcall.NamedQuery
			for q, err := range c.Queries(ctx, namespace) {
				if err != nil {
					t.Fatal(err)
				}
				listed = append(listed, q)
			}
			if want := []rollcall.NamedQuery{q}; namespace != "none" && !cmp.Equal(want, listed) || namespace == "none" && listed != nil {
				t.Errorf("in %q: %+v", namespace, listed)
			}
		}
		if err := c.DeleteQuery(ctx, q.Key(), 1); !errors.Is(err, rollcall.ErrPrecondition) {
			t.Errorf("deleted another revision: %v", err)
		}
		if err := c.DeleteQuery(ctx, q.Key(), q.Revision); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Query(ctx, q.Key()); !errors.Is(err, rollcall.ErrNotFound) {
			t.Errorf("deleted: %v", err)
		}

		var types []string
		for e, err := range c.Events(ctx, rollcall.EventFilter{Service: "web", ID: "w", Since: time.Now().Add(-time.Hour)}) {
			if err != nil {
				t.Fatal(err)
			}
			types = append(types, e.Type)
		}
		if len(types) < 5 || types[len(types)-1] != "registered" || !slices.Contains(types, "override_cleared") {
			t.Errorf("events, newest first: %q", types)
		}
		if s, err := c.Status(ctx); err != nil || !s.Synced || s.Instances != 1 || !s.LogID.Valid() {
			t.Errorf("status %+v, %v", s, err)
		}
		var b bytes.Buffer
		if err := c.Backup(ctx, &b); err != nil {
			t.Fatal(err)
		}
		if got, err := server.VerifyBackup(&b); err != nil || got.Instances != 1 {
			t.Errorf("backup %+v, %v", got, err)
		}
	})
}

// state is what a watcher knows.
type state map[string]rollcall.Status

func (s state) apply(ev client.Event) {
	switch ev.Type {
	case client.EventSnapshot, client.EventReset:
		clear(s)
		for _, i := range ev.Instances {
			s[i.ID] = i.Health.Status
		}
	case client.EventPut:
		s[ev.Instance.ID] = ev.Instance.Health.Status
	case client.EventHealth:
		for _, id := range ev.IDs {
			s[id] = ev.Status
		}
	case client.EventRemove:
		delete(s, ev.ID)
	}
}

func TestWatchFollowsARestart(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		config := server.Config{DataDir: t.TempDir()}
		srv := rollcalltest.Run(t, config)
		config.HTTP, config.GRPC = srv.Addr, srv.GRPC
		c := dial(t, p.address(srv))
		put := func(id string) {
			t.Helper()
			if _, err := c.Put(t.Context(), rollcall.Instance{Service: "web", ID: id}); err != nil {
				t.Fatal(err)
			}
		}
		put("a")

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		events := make(chan client.Event, 100)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ev, err := range c.Watch(ctx, rollcall.Query{Service: "web", Health: rollcall.HealthAny}) {
				if err != nil {
					return
				}
				events <- ev
			}
		}()
		seen := state{}
		var revision rollcall.Revision
		reach := func(want state) {
			t.Helper()
			for late := time.After(15 * time.Second); !cmp.Equal(want, seen); {
				select {
				case ev := <-events:
					if ev.Revision < revision {
						t.Fatalf("revision %d after %d", ev.Revision, revision)
					}
					revision = max(revision, ev.Revision)
					seen.apply(ev)
				case <-late:
					t.Fatalf("saw %v, want %v", seen, want)
				}
			}
		}
		reach(state{"a": rollcall.Healthy})
		put("b")
		if err := c.Deregister(t.Context(), rollcall.NewKey("", "web", "a")); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Drain(t.Context(), rollcall.NewKey("", "web", "b"), 0); err != nil {
			t.Fatal(err)
		}
		reach(state{"b": rollcall.Draining})

		if err := srv.Stop(); err != nil {
			t.Fatal(err)
		}
		rollcalltest.Run(t, config)
		put("c")
		reach(state{"b": rollcall.Draining, "c": rollcall.Healthy})
		cancel()
		<-done
	})
}

func TestRegistrationOutlivesALostLog(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		srv := rollcalltest.Start(t)
		c := dial(t, p.address(srv))
		notices := make(chan client.Notice, 10)
		inst := rollcall.Instance{Service: "web", ID: "w", Lease: rollcall.Lease{Mode: rollcall.LeaseTTL, TTL: rollcall.Duration(rollcall.MinTTL)}}
		reg, err := c.Register(t.Context(), inst, client.WithNotify(func(n client.Notice) { notices <- n }), client.WithGrace(10*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Stop(); err != nil {
			t.Fatal(err)
		}
		rollcalltest.Run(t, server.Config{DataDir: t.TempDir(), HTTP: srv.Addr, GRPC: srv.GRPC})
		for late := time.After(15 * time.Second); ; {
			var n client.Notice
			select {
			case n = <-notices:
			case <-late:
				t.Fatal("not registered again")
			}
			if n.Kind == client.NoticeReregistered {
				break
			}
		}
		if _, err := c.Instance(t.Context(), inst.Key()); err != nil {
			t.Fatal(err)
		}
		if err := reg.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err = c.Instance(t.Context(), inst.Key())
		wantKind(t, err, rollcall.ErrNotFound)
	})
}
