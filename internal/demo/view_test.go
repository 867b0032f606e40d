package demo

import (
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
)

func newView() *view {
	return &view{caller: "c", in: map[string]*target{}, came: map[string]time.Time{}, left: map[string]time.Time{}, zone: &zone{name: "here"}}
}

func instance(id, zone string, weight uint16, s rollcall.Status) rollcall.Instance {
	return rollcall.Instance{
		ID: id, Address: "127.0.0.1", Ports: map[string]uint16{"http": 1}, Locality: rollcall.Locality{Zone: zone},
		EffectiveWeight: &weight, Health: &rollcall.Health{Status: s},
	}
}

func TestViewFollowsItsWatch(t *testing.T) {
	v := newView()
	v.take(&client.Event{Type: client.EventSnapshot, Instances: []rollcall.Instance{
		instance("a", "here", 30, rollcall.Healthy), instance("b", "there", 10, rollcall.Healthy),
	}}, nil)
	if got := v.abroad(); got != 0.25 {
		t.Errorf("%v of it is abroad", got)
	}
	if got := v.weight("a"); got != 1.5 {
		t.Errorf("a has %v of a share", got)
	}
	v.take(&client.Event{Type: client.EventWeights, Weights: map[string]uint16{"a": 0, "unknown": 7}}, nil)
	if got := v.abroad(); got != 1 {
		t.Errorf("%v of it is abroad", got)
	}
	added := instance("c", "here", 10, rollcall.Healthy)
	v.take(&client.Event{Type: client.EventPut, Instance: &added}, nil)
	v.take(&client.Event{Type: client.EventRemove, ID: "b"}, nil)
	if v.in["c"] == nil || v.in["b"] != nil || v.left["b"].IsZero() || v.came["c"].IsZero() {
		t.Errorf("%v", v.in)
	}
	v.take(&client.Event{Type: client.EventReset, Instances: []rollcall.Instance{added}}, nil)
	if len(v.in) != 1 || v.left["a"].IsZero() {
		t.Errorf("%v", v.in)
	}
	wrong := errors.New("over")
	if v.take(&client.Event{}, wrong); v.err != wrong {
		t.Errorf("%v", v.err)
	}
}

// The suspect are called only if nobody else is left, and those to avoid never.
func TestChoose(t *testing.T) {
	v := newView()
	v.take(&client.Event{Type: client.EventSnapshot, Instances: []rollcall.Instance{
		instance("a", "here", 30, rollcall.Healthy), instance("b", "here", 10, rollcall.Healthy),
		instance("idle", "here", 0, rollcall.Healthy), instance("s", "here", 100, rollcall.Healthy),
	}}, nil)
	v.take(&client.Event{Type: client.EventHealth, IDs: []string{"s"}, Status: rollcall.Suspect}, nil)
	const n = 4000
	got := map[string]int{}
	for range n {
		c, err := v.choose(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		got[c.id]++
		c.calls.Done()
	}
	if share := float64(got["a"]) / n; math.Abs(share-0.75) > 0.05 || got["a"]+got["b"] != n {
		t.Errorf("%v", got)
	}
	if c, err := v.choose(t.Context(), []string{"a", "b"}); err != nil || c.id != "s" {
		t.Errorf("%v, %v", c, err)
	}
	if _, err := v.choose(t.Context(), []string{"a", "b", "s"}); !errors.Is(err, errNobody) {
		t.Errorf("%v", err)
	}
}

// Whoever hears that an instance is gone takes no more of the watch, and so does not
// acknowledge it, before its last call of that instance has ended.
func TestViewWaitsForItsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newView()
		v.take(&client.Event{Type: client.EventSnapshot, Instances: []rollcall.Instance{instance("a", "here", 1, rollcall.Healthy)}}, nil)
		c, err := v.choose(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		taken := make(chan struct{})
		go func() {
			v.take(&client.Event{Type: client.EventRemove, ID: "a"}, nil)
			close(taken)
		}()
		synctest.Wait()
		v.mu.Lock()
		if v.left["a"].IsZero() {
			t.Error("it is still in the view")
		}
		v.mu.Unlock()
		select {
		case <-taken:
			t.Error("it was taken while a call was under way")
		default:
		}
		c.calls.Done()
		<-taken
	})
}

func TestLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l ledger
		at := time.Now()
		for n := range 2000 {
			time.Sleep(10 * time.Millisecond) // virtual
			h := hit{at: time.Now(), service: "s", how: byView, id: "a"}
			if n%4 == 0 {
				h.id, h.how = "b", byPick
			}
			l.add(h)
		}
		if share, of := l.share("s", "b", "", time.Now().Add(-4*time.Second)); share != 0.25 || of != 400 {
			t.Errorf("%v of %d", share, of)
		}
		if share, _ := l.share("s", "b", byPick, at); share != 1 {
			t.Errorf("%v of its picks", share)
		}
		if share, of := l.share("other", "b", "", at); !math.IsNaN(share) || of != 0 {
			t.Errorf("%v of %d", share, of)
		}
		if len(l.hits) >= 2000 {
			t.Errorf("it keeps %d", len(l.hits))
		}
		l.add(hit{at: time.Now(), id: "a", failed: true})
		l.add(hit{at: time.Now(), id: "b", failed: true, retry: true})
		l.add(hit{at: time.Now(), id: "c", failed: true, retry: true, last: true})
		if tries, lost := l.failed("", at); tries != 3 || lost != 1 {
			t.Errorf("%d, %d", tries, lost)
		}
		if tries, _ := l.failed("b", at); tries != 1 {
			t.Errorf("%d", tries)
		}
		if tries, _ := l.failed("b", time.Now().Add(1)); tries != 0 {
			t.Errorf("%d", tries)
		}
		if requests, retried, lost, _ := l.totals(); requests != 2001 || retried != 2 || lost != 1 {
			t.Errorf("%d, %d, %d", requests, retried, lost)
		}
	})
}

func TestNot(t *testing.T) {
	if got := not([]string{"a", "b"}); got != `!(id in ["a", "b"])` {
		t.Error(got)
	}
}
