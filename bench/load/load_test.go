package load

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestBuckets: each value is in a bucket whose end is at most 1 % above it, and buckets
// follow each other without a gap.
func TestBuckets(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		v := rng.Uint64() >> (1 + rng.IntN(63))
		end := uint64(upper(bucket(v)))
		if end < v || float64(end-v) > 0.01*float64(v) {
			t.Fatalf("%d is in bucket %d, which ends at %d", v, bucket(v), end)
		}
	}
	for i := range bucket(math.MaxInt64) {
		if next := bucket(uint64(upper(i)) + 1); next != i+1 {
			t.Fatalf("behind bucket %d comes %d", i, next)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var a, b Histogram
	if got := a.Quantile(0.5); got != 0 {
		t.Errorf("median of nothing: %v", got)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	for n := range 10_000 {
		d := time.Duration(rng.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		[]*Histogram{&a, &b}[n%2].Record(d)
	}
	a.Merge(&b)
	slices.Sort(all)
	if a.Count() != 10_000 || a.Max() != all[9_999] {
		t.Errorf("%d recorded, at most %v; want 10000, %v", a.Count(), a.Max(), all[9_999])
	}
	for _, q := range []float64{0.5, 0.99, 0.999, 1} {
		want := float64(all[int(q*10_000)-1])
		if got := float64(a.Quantile(q)); math.Abs(got-want) > 0.01*want {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
}

func TestWorkers(t *testing.T) {
	began, ended := false, false
	w := Window{Length: 20 * time.Millisecond, Begin: func() { began = true }, End: func() { ended = true }}
	r := Workers(4, w, func(worker, call int) error {
		if worker == 3 {
			return errors.New("broken")
		}
		time.Sleep(time.Millisecond)
		return nil
	})
	if r.Done == 0 || r.Failed != 1 || r.Err == nil || r.Latency.Quantile(0.5) < time.Millisecond || !began || !ended {
		t.Errorf("result %d done, %d failed, %v; began %v, ended %v", r.Done, r.Failed, r.Err, began, ended)
	}
}
