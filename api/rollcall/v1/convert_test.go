package rollcallpb

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
)

var since = time.Date(2026, 3, 1, 12, 0, 0, 1, time.UTC)

// everything is an instance of which every field is set.
func everything() rollcall.Instance {
	return rollcall.Instance{
		Namespace: "shop", Service: "Payments", ID: "p-1", Address: "10.0.3.17", Ports: map[string]uint16{"http": 8080, "grpc": 65535},
		Version: "2.4.1", Node: "host-17", Locality: rollcall.Locality{Region: "eu", Zone: "eu-1", SubZone: "rack"},
		Position:     &rollcall.Position{Lat: 52.5, Lon: -13.4},
		Capabilities: map[string]rollcall.Value{"gpu": rollcall.Number(0), "canary": rollcall.Bool(false), "engine": rollcall.String(""), "codecs": rollcall.List(), "mixed": rollcall.List(rollcall.Bool(true), rollcall.Number(-1), rollcall.String("x"))},
		Metadata:     map[string]string{"team": "checkout", "empty": ""},
		Weight:       new(uint16(0)), Capacity: 200, Warmup: rollcall.Duration(30 * time.Second),
		Lease:  rollcall.Lease{Mode: rollcall.LeaseSession, TTL: rollcall.Duration(15 * time.Second), RemoveAfter: rollcall.Duration(time.Minute)},
		Checks: []rollcall.Check{{Name: "ready", Type: rollcall.CheckHTTP, TTL: 1, Target: "/healthz", Interval: 2, Timeout: 3, Rise: 4, Fall: 5, DeregisterAfter: 6}},
		Health: &rollcall.Health{Status: rollcall.Degraded, Reason: "slow", Since: since, Checks: []rollcall.CheckResult{{Name: "ready", Status: rollcall.Healthy, Output: "200", Since: since}}},
		Origin: "grpc", Revision: 7, Incarnation: 5, RegisteredAt: since, EffectiveWeight: new(uint16(50)), Distance: new(12.5),
		Load:        &rollcall.Load{Utilization: 0.5, InFlight: 3, RPS: 10, Errors: 1, LatencyP50: 2, LatencyP99: 20},
		Provisional: true,
	}
}

// through sends a message over the wire.
func through[M proto.Message](t *testing.T, m, to M) M {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, to); err != nil {
		t.Fatal(err)
	}
	return to
}

// complete fails the test for a field of x that is zero, so that a new one is not
// forgotten here.
func complete(t *testing.T, x any, but ...string) {
	t.Helper()
	v := reflect.ValueOf(x)
	for n := range v.NumField() {
		name := v.Type().Field(n).Name
		if v.Field(n).IsZero() && !strings.Contains(strings.Join(but, " "), name) {
			t.Errorf("%T.%s is not tested", x, name)
		}
	}
}

func TestInstance(t *testing.T) {
	want := everything()
	complete(t, want, "Vouched")
	got, err := through(t, FromInstance(&want), new(Instance)).Domain()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	var none rollcall.Instance
	if got, err := through(t, FromInstance(&none), new(Instance)).Domain(); err != nil || !cmp.Equal(none, got) {
		t.Errorf("an empty instance is %+v, %v", got, err)
	}
	if got, err := (*Instance)(nil).Domain(); err != nil || !cmp.Equal(none, got) {
		t.Errorf("no instance is %+v, %v", got, err)
	}
}

// TestWrongInstance: what a domain type cannot hold is refused, by its field.
func TestWrongInstance(t *testing.T) {
	for field, m := range map[string]*Instance{
		"weight":           {Weight: new(uint32(65536))},
		"effective_weight": {EffectiveWeight: new(uint32(1 << 20))},
		"ports.http":       {Ports: []*Port{{Name: "http", Port: 65536}}},
		"ports.x":          {Ports: []*Port{{Name: "x", Port: 1}, {Name: "x", Port: 2}}},
		"metadata.x":       {Metadata: []*Pair{{Name: "x"}, {Name: "x"}}},
		"capabilities.a":   {Capabilities: []*Capability{{Name: "a"}}},
		"capabilities.b":   {Capabilities: []*Capability{{Name: "b", Value: &Value{Bool: new(true), Number: new(1.0)}}}},
		"capabilities.c":   {Capabilities: []*Capability{{Name: "c", Value: &Value{List: true, Elements: []*Value{{List: true}}}}}},
		"capabilities.d":   {Capabilities: []*Capability{{Name: "d", Value: &Value{Bool: new(true), Elements: []*Value{{Bool: new(true)}}}}}},
		"capabilities.e":   {Capabilities: []*Capability{{Name: "e", Value: &Value{Bool: new(true)}}, {Name: "e", Value: &Value{Bool: new(true)}}}},
	} {
		_, err := m.Domain()
		var e *rollcall.Error
		if !errors.As(err, &e) || e.Field != field || e.Kind != rollcall.ErrInvalid {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestQuery(t *testing.T) {
	want := rollcall.Query{
		Namespace: "shop", Service: "payments", Health: "any", Capability: []rollcall.Match{{Name: "gpu", Value: "2"}},
		Metadata: []rollcall.Match{{Name: "team", Value: "x"}, {Name: "team", Value: "y"}}, Filter: "true", Near: "1,2", Limit: 5, Pick: 1,
		Caller: "web-1", Subset: "web-1", SubsetSize: 20, At: since, MinRevision: 9, MaxAge: time.Second, Consistent: true,
		After: rollcall.Token{Log: rollcall.NewLogID(), Revision: 3, Generation: 4}, Wait: time.Minute,
	}
	complete(t, want)
	got, err := through(t, FromQuery(&want), new(Query)).Domain()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for field, m := range map[string]*Query{"limit": {Limit: 1 << 31}, "wait": {Wait: -1}, "max_age": {MaxAge: -1}, "after": {After: "yesterday"}} {
		_, err := m.Domain()
		if e, ok := errors.AsType[*rollcall.Error](err); !ok || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestReports(t *testing.T) {
	i := everything()
	want := rollcall.Report{Status: rollcall.Draining, Note: "bye", Checks: map[string]rollcall.CheckReport{"a": {Status: rollcall.Healthy, Note: "ok"}, "b": {}}, Load: i.Load, Position: i.Position}
	complete(t, want)
	got, err := through(t, FromReport(&want), new(InstanceReport)).Domain()
	if err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v, %s", err, cmp.Diff(want, got))
	}
	if m := FromReport(&rollcall.Report{}); m != nil {
		t.Errorf("a report that says nothing is %v", m)
	}
	for field, m := range map[string]*InstanceReport{
		"status": {Status: 9}, "checks.a.status": {Checks: []*CheckReport{{Name: "a", Status: -1}}}, "checks.b": {Checks: []*CheckReport{{Name: "b"}, {Name: "b"}}},
	} {
		_, err := m.Domain()
		if e, ok := errors.AsType[*rollcall.Error](err); !ok || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	caller := rollcall.CallerReport{Caller: "web-1", Window: rollcall.Duration(time.Second), Instances: []rollcall.Outcome{{ID: "p-1", OK: 5, Errors: 1, LatencyP50: 1, LatencyP99: 2, InFlight: 3}}}
	m := through(t, FromCallerReport(rollcall.NewServiceKey("shop", "payments"), &caller), new(ReportRequest))
	if got := m.Domain(); !cmp.Equal(caller, got) || m.Service.Domain() != rollcall.NewKey("shop", "payments", "") {
		t.Errorf("%v: %s", m.Service, cmp.Diff(caller, got))
	}
}

func TestExplanation(t *testing.T) {
	expires := since.Add(time.Hour)
	want := rollcall.Explanation{
		Namespace: "shop", Service: "payments", Revision: 4, At: since, Panic: true, Total: 1,
		Guard: &rollcall.Guard{Namespace: "shop", Service: "payments", Since: since, Reason: "silence", Held: 2},
		Instances: []rollcall.Reason{{
			Namespace: "shop", Service: "payments", ID: "p-1", In: true, EffectiveWeight: 100, Why: "healthy", Health: rollcall.Health{Status: rollcall.Healthy, Since: since},
			Evidence: []rollcall.Evidence{{Source: rollcall.SlotLease, Status: rollcall.Unhealthy, Reason: "gone", Hard: true, Since: since}},
			Override: &rollcall.Override{Status: rollcall.Healthy, Reason: "I know", Expires: &expires, By: "me", Since: since},
		}},
	}
	complete(t, want)
	complete(t, want.Instances[0])
	if got := through(t, FromExplanation(&want), new(WhyResponse)).Domain(); !cmp.Equal(want, got) {
		t.Error(cmp.Diff(want, got))
	}
}

func TestErrors(t *testing.T) {
	for _, o := range outcomes {
		e := &rollcall.Error{Kind: o.kind, Detail: "what to do", Field: "lease.ttl", RetryAfter: time.Second, Cause: errors.New("secret")}
		told, known := StatusOf(fmt.Errorf("while at it: %w", e))
		if !known || status.Code(told) != o.code || strings.Contains(told.Error(), "secret") {
			t.Errorf("%v is told as %v", o.kind, told)
		}
		got, ok := ErrorOf(told)
		if !ok || got.Detail != e.Detail || got.Field != e.Field || got.RetryAfter != e.RetryAfter {
			t.Errorf("%v comes back as %+v", o.kind, got)
		}
		want := o.kind
		if want == context.DeadlineExceeded {
			want = rollcall.ErrTimeout
		}
		if got.Kind != want {
			t.Errorf("%v comes back as %v", want, got.Kind)
		}
	}
	told, known := StatusOf(errors.New("secret"))
	if known || status.Code(told) != codes.Internal || strings.Contains(told.Error(), "secret") {
		t.Errorf("an unforeseen error is told as %v", told)
	}
	if _, ok := ErrorOf(status.Error(codes.Unavailable, "connection refused")); ok {
		t.Error("an error of the transport is taken for a server's")
	}
	long := shorten(strings.Repeat("ä", 400), maxDetail)
	if len(long) > maxDetail || !strings.HasSuffix(long, "ä…") {
		t.Errorf("%d bytes, which end in %q", len(long), long[len(long)-6:])
	}
}

func TestRecords(t *testing.T) {
	i := everything()
	tok := rollcall.Token{Log: rollcall.NewLogID(), Revision: 9}
	for _, test := range []struct {
		m    *WatchResponse
		want []rollcall.WatchEvent
	}{
		{
			&WatchResponse{Tell: &WatchResponse_State{State: &State{Revision: 9, Token: tok.String(), Instances: []*Instance{FromInstance(&i)}}}},
			[]rollcall.WatchEvent{{Type: rollcall.WatchSnapshot, Revision: 9, Token: tok, Instances: []rollcall.Instance{i}}},
		},
		{
			&WatchResponse{Tell: &WatchResponse_State{State: &State{Reset_: true, Revision: 9, Token: tok.String(), More: true}}},
			[]rollcall.WatchEvent{{Type: rollcall.WatchReset, Revision: 9, Instances: []rollcall.Instance{}}},
		},
		{
			&WatchResponse{Tell: &WatchResponse_Changes{Changes: &Changes{Revision: 9, Token: tok.String(), Changes: []*Change{
				{Revision: 7, Service: "a", Namespace: "b", Put: FromInstance(&i)},
				{Revision: 8, Health: &Verdict{Ids: []string{"x", "y"}, Status: Status_STATUS_DEGRADED, Reason: "slow", EffectiveWeights: []uint32{5, 1 << 20}}},
				{Revision: 9, Remove: &Removal{Id: "z", Reason: "deregistered"}},
			}}}},
			[]rollcall.WatchEvent{
				{Type: rollcall.WatchPut, Revision: 7, Service: "a", Namespace: "b", Instance: &i},
				{Type: rollcall.WatchHealth, Revision: 8, IDs: []string{"x", "y"}, Status: rollcall.Degraded, Reason: "slow", EffectiveWeights: []uint16{5, 65535}},
				{Type: rollcall.WatchRemove, Revision: 9, ID: "z", Reason: "deregistered", Token: tok},
			},
		},
		{
			&WatchResponse{Tell: &WatchResponse_Weights{Weights: &Weights{Generation: 3, Services: []*ServiceWeights{{Service: "a", Ids: []string{"x", "y"}, Weights: []uint32{7}}}}}},
			[]rollcall.WatchEvent{{Type: rollcall.WatchWeights, Generation: 3, Service: "a", Weights: map[string]uint16{"x": 7}}},
		},
		{
			&WatchResponse{Tell: &WatchResponse_Bookmark{Bookmark: &Bookmark{Revision: 9, Token: tok.String()}}},
			[]rollcall.WatchEvent{{Type: rollcall.WatchBookmark, Revision: 9, Token: tok}},
		},
		{&WatchResponse{Subscription: 1}, nil},
	} {
		got, err := through(t, test.m, new(WatchResponse)).Events()
		if err != nil || !cmp.Equal(test.want, got) {
			t.Errorf("%v, %s", err, cmp.Diff(test.want, got))
		}
	}
	m, _, _ := FromError(&rollcall.Error{Kind: rollcall.ErrNotFound, Detail: "no such service"})
	if _, err := (&WatchResponse{Tell: &WatchResponse_Ended{Ended: m}}).Events(); !errors.Is(err, rollcall.ErrNotFound) {
		t.Errorf("the end of a subscription is %v", err)
	}
	for _, m := range []*WatchResponse{
		{Tell: &WatchResponse_Changes{Changes: &Changes{}}},
		{Tell: &WatchResponse_Changes{Changes: &Changes{Changes: []*Change{{}}}}},
		{Tell: &WatchResponse_Bookmark{Bookmark: &Bookmark{Token: "x"}}},
	} {
		if evs, err := m.Events(); err == nil {
			t.Errorf("%v tells %v", m, evs)
		}
	}
}

// FuzzRecord: whatever a server sends is read or refused.
func FuzzRecord(f *testing.F) {
	i := everything()
	for _, m := range []*WatchResponse{
		{Subscription: 1, Tell: &WatchResponse_State{State: &State{Instances: []*Instance{FromInstance(&i)}}}},
		{Subscription: 1, Tell: &WatchResponse_Changes{Changes: &Changes{Changes: []*Change{{Put: FromInstance(&i)}, {Remove: &Removal{}}}}}},
		{Subscription: 1, Tell: &WatchResponse_Weights{Weights: &Weights{Services: []*ServiceWeights{{}}}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m WatchResponse
		if proto.Unmarshal(b, &m) == nil {
			m.Events()
		}
	})
}

// FuzzRequest: whatever a client sends is read or refused.
func FuzzRequest(f *testing.F) {
	i := everything()
	b, err := proto.Marshal(&SessionRequest{Ref: 1, Say: &SessionRequest_Register{Register: FromInstance(&i)}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var s SessionRequest
		if proto.Unmarshal(b, &s) == nil {
			if i, err := s.GetRegister().Domain(); err == nil {
				FromInstance(&i)
			}
			s.GetReport().GetReport().Domain()
		}
		var q Query
		if proto.Unmarshal(b, &q) == nil {
			q.Domain()
		}
	})
}
