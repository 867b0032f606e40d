//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

// TestBlackout kills the registry, then a tenth of the instances, then a caller, which
// starts again from what it has on disk, and at last brings the registry back, once on
// its data and once with nothing. Requests go on all the time, and nobody who lives is
// ever gone from the callers' views.
func TestBlackout(t *testing.T) {
	t.Parallel()
	const all, dead = 20, 2
	for _, tt := range []struct {
		protocol, wire string
		wiped          bool
	}{{"http", "grpc", false}, {"http", "grpc", true}, {"grpc", "grpc", true}, {"http", "http", true}} {
		t.Run(fmt.Sprintf("%s by %s, wiped: %v", tt.protocol, tt.wire, tt.wiped), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := process.Serve(t, dir)
			o := orders{Registry: over(tt.wire, p), Protocol: tt.protocol, Idempotent: true, Service: "blackout", Lease: rollcall.Lease{
				Mode: rollcall.LeaseSession, TTL: rollcall.Duration(5 * time.Second), RemoveAfter: rollcall.Duration(5 * time.Second),
			}}
			var each []orders
			for n := range all {
				o := o
				o.As, o.Name = "instance", fmt.Sprintf("i%02d", n)
				each = append(each, o)
			}
			instances := launchAll(t, each...)
			stays, returns := o, o
			stays.As, stays.Name, stays.Rate, stays.Cache = "caller", "stays", *callRate/2, cacheDir(t)
			returns.As, returns.Name, returns.Rate, returns.Cache = "caller", "returns", *callRate/2, cacheDir(t)
			callers := launchAll(t, stays, returns)
			onDisk(t, returns.Cache)

			p.Kill()
			for _, c := range callers {
				aged(t, c, 6*time.Second) // it was confirmed every 5 s
				is := tallyOf(t, c, "count")
				if is.failures() > 0 || len(is.View) != all {
					t.Errorf("without a registry: %v failed of %d, %q; %d instances are known", is.Failed, is.Sent, is.Errors, len(is.View))
				}
			}

			for _, f := range instances[:dead] {
				f.kill()
			}
			struck := time.Now()
			callers[1].kill()
			callers[1] = launchAll(t, returns)[0]
			first := tallyOf(t, callers[1], "count").First
			t.Logf("started again without a registry, a caller had its first answer after %v", first.Round(time.Millisecond))
			for n, c := range callers {
				process.Eventually(t, 20*time.Second, func() error {
					is := tallyOf(t, c, "count")
					return atLeast(int64(is.Sent), 3*int64(*callRate))
				})
				is := tallyOf(t, c, "count")
				t.Logf("caller %d, %v after %d of %d died: %d requests, answered within %v (50 %%) and %v (99 %%), failed: %v %q; the view is %v old",
					n, time.Since(struck).Round(time.Millisecond), dead, all, is.Sent, is.P50, is.P99, is.Failed, is.Errors, is.Age.Round(time.Second))
				if is.Failed["GET"] > 0 || is.Failed["POST"] > 5 || len(is.View) != all {
					t.Errorf("failed: %v, %q; %d instances are known", is.Failed, is.Errors, len(is.View))
				}
			}

			if tt.wiped {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
			p = process.Serve(t, dir, "--http", p.Addr, "--grpc", p.GRPC)
			back := time.Now()
			process.Eventually(t, 2*rollcall.DefaultTTL, func() error { return allHealthy(t, p, "blackout", all-dead) })
			t.Logf("the living alone are healthy %v after the registry was back", time.Since(back).Round(time.Millisecond))
			for _, c := range callers {
				process.Eventually(t, 2*rollcall.DefaultTTL+10*time.Second, func() error {
					is := tallyOf(t, c, "count")
					if len(is.View) != all-dead || is.Age > 6*time.Second {
						return fmt.Errorf("%d are known, %v ago", len(is.View), is.Age)
					}
					return nil
				})
			}
			t.Logf("callers have forgotten the dead %v after the registry was back", time.Since(back).Round(time.Millisecond))
			for _, c := range callers {
				is := tallyOf(t, c, "stop")
				t.Logf("%d requests, failed: %v; lost from views: %v", is.Sent, is.Failed, is.Lost)
				if is.Failed["GET"] > 0 || is.Failed["POST"] > 5 || slices.ContainsFunc(is.Lost, func(id string) bool { return id >= fmt.Sprintf("i%02d", dead) }) {
					t.Errorf("failed: %v, %q; lost: %v", is.Failed, is.Errors, is.Lost)
				}
			}
		})
	}
}

// onDisk waits until a caller has written a view.
func onDisk(t *testing.T, dir string) {
	t.Helper()
	process.Eventually(t, 10*time.Second, func() error {
		if files, err := os.ReadDir(dir); err != nil || len(files) == 0 {
			return errors.Join(errors.New("nothing is there"), err)
		}
		return nil
	})
}

// aged waits until a caller's view is so old.
func aged(t *testing.T, c *fleet, age time.Duration) {
	t.Helper()
	process.Eventually(t, age+10*time.Second, func() error {
		if is := tallyOf(t, c, "count"); is.Age < age {
			return fmt.Errorf("the view is %v old", is.Age)
		}
		return nil
	})
}
