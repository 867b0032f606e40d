package local

import (
	"context"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// TestManyThatLeaveDoNotHoldUpTheView: it is waited for requests to those that leave, but
// with requests that take for ever not for each of a hundred.
func TestManyThatLeaveDoNotHoldUpTheView(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := rollcall.NewLogID()
		at := func(n int) rollcall.Token { return rollcall.Token{Log: log, Revision: rollcall.Revision(n)} }
		snapshot := rollcall.WatchEvent{Type: rollcall.WatchSnapshot, Token: at(1)}
		for n := range 100 {
			snapshot.Instances = append(snapshot.Instances, rollcall.Instance{
				Service: "payments", ID: fmt.Sprint(n), Address: "10.0.0.1", Ports: map[string]uint16{"default": 80},
			})
		}
		leave := make(chan struct{})
		var took []time.Duration
		l := opened("", nil)
		defer l.Close()
		l.Registry.Follow = func(ctx context.Context, _ rollcall.Query, _ []rollcall.Instance) iter.Seq2[rollcall.WatchEvent, error] {
			return func(yield func(rollcall.WatchEvent, error) bool) {
				yield(snapshot, nil)
				<-leave
				for n := range 99 {
					began := time.Now()
					yield(rollcall.WatchEvent{Type: rollcall.WatchHealth, Token: at(n + 2), IDs: []string{fmt.Sprint(n)}, Status: rollcall.Draining}, nil)
					took = append(took, time.Since(began))
				}
				leave <- struct{}{}
				<-ctx.Done()
			}
		}
		for range 2000 {
			if _, err := l.Pick(t.Context(), "payments"); err != nil {
				t.Fatal(err)
			}
		}
		leave <- struct{}{}
		<-leave
		var all time.Duration
		for _, d := range took {
			all += d
		}
		if took[0] != settleMost || all != settleAhead*settleMost {
			t.Errorf("the first was waited for %v, want %v; all %v, want %v", took[0], settleMost, all, settleAhead*settleMost)
		}
	})
}
