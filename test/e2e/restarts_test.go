//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall/test/process"
)

var (
	restarted = flag.Int("instances", 6, "how many instances TestRestarts replaces")
	rounds    = flag.Int("rounds", 2, "how often it does that")
	callRate  = flag.Int("rate", 300, "how many requests a second they get meanwhile")
)

// TestRestarts replaces all instances of a service, one process after the other by one
// at another port, under the requests of three processes that call it by its name. No
// request fails, and nobody waits for longer than until all callers know.
func TestRestarts(t *testing.T) {
	t.Parallel()
	const callers = 3
	for _, tt := range []struct{ protocol, wire string }{{"http", "grpc"}, {"http", "http"}, {"grpc", "grpc"}} {
		t.Run(tt.protocol+" by "+tt.wire, func(t *testing.T) {
			t.Parallel()
			p := process.Serve(t, t.TempDir())
			o := orders{Registry: over(tt.wire, p), Protocol: tt.protocol, Service: "restarted", Lease: sessionLease}
			begin := func(n int) *fleet {
				o := o
				o.As, o.Name = "instance", fmt.Sprintf("i%d", n)
				return launchAll(t, o)[0]
			}
			var up []*fleet
			for n := range *restarted {
				up = append(up, begin(n))
			}
			var calling []*fleet
			for n := range callers {
				o := o
				o.As, o.Name, o.Rate = "caller", fmt.Sprintf("web-%d", n), *callRate/callers
				calling = append(calling, launchAll(t, o)...)
			}

			answers := func(id string) error {
				for _, c := range calling {
					if is := tallyOf(t, c, "count"); is.Answered[id] == 0 {
						return fmt.Errorf("%s has answered nothing; there are %v", id, is.View)
					}
				}
				return nil
			}
			at := time.Now()
			var drains []time.Duration
			for n := range *rounds * *restarted {
				old, next := &up[n%*restarted], *restarted+n
				f := begin(next)
				took, err := (*old).leave()
				if err != nil {
					t.Fatal(err)
				}
				*old, drains = f, append(drains, took)
				process.Eventually(t, 10*time.Second, func() error { return answers(fmt.Sprintf("i%d", next)) })
			}
			took, sent, failed := time.Since(at), 0, 0
			for _, c := range calling {
				is := tallyOf(t, c, "stop")
				sent, failed = sent+is.Sent, failed+is.failures()
				if is.failures() > 0 {
					t.Errorf("failed: %v, first %q", is.Failed, is.Errors)
				}
				t.Logf("a caller: %d requests, answered within %v (50 %%) and %v (99 %%)", is.Sent, is.P50, is.P99)
			}
			p50, _, most := spread(drains)
			t.Logf("%d times an instance was replaced in %v under %.0f requests/s: %d requests, %d failed; until all callers knew it took %v (50 %%), at most %v",
				len(drains), took.Round(time.Millisecond), float64(sent)/took.Seconds(), sent, failed, p50, most)
			if slices.Max(drains) > 5*time.Second {
				t.Errorf("drains took %v; nobody had to wait for anybody", drains)
			}
		})
	}
}
