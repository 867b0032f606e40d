package outcome

import (
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

var began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func digest(l *Log, service, id string) *Digest { return l.Digest(rollcall.NewKey("", service, id)) }

func record(d *Digest, ok, failed int, took time.Duration) {
	for range ok {
		d.Record(took, false)
	}
	for range failed {
		d.Record(took, true)
	}
}

// due asks in the second n.
func due(l *Log, n int) []Report { return l.Due(began.Add(time.Duration(n) * time.Second)) }

func TestBuckets(t *testing.T) {
	last := 0
	for took := 8 * time.Microsecond; took < time.Minute; took += took/50 + 1 {
		n := bucket(took)
		if n < last || n >= buckets {
			t.Fatalf("%v is in bucket %d, behind %d", took, n, last)
		}
		last = n
		if off := latency(n) / (float64(took) / 1e6); math.Abs(off-1) > 0.125 {
			t.Errorf("%v is told as %v ms", took, latency(n))
		}
	}
	for _, took := range []time.Duration{-1, 0, math.MaxInt64} {
		bucket(took)
	}
}

// TestNothing: nothing is told of what did not happen.
func TestNothing(t *testing.T) {
	var l Log
	d := digest(&l, "a", "1")
	if got := due(&l, 1); got != nil {
		t.Errorf("told %+v", got)
	}
	record(d, 10, 0, time.Millisecond)
	due(&l, 2)
	for n := 3; n < 20; n++ {
		if got := due(&l, n); got != nil {
			t.Errorf("told %+v in second %d", got, n)
		}
	}
	if len(l.since) != 0 {
		t.Error("a service is remembered")
	}
}

// TestWhen: a second after what moved, else every five.
func TestWhen(t *testing.T) {
	var l Log
	d := digest(&l, "a", "1")
	told := ""
	for n := 1; n <= 30; n++ {
		failed, took := 0, 10*time.Millisecond
		if n >= 12 { // far slower from here on
			took = 20 * time.Millisecond
		}
		if n == 21 {
			failed = 10
		}
		record(d, 100-failed, failed, took)
		if rs := due(&l, n); rs != nil {
			told += fmt.Sprintf(" %d(%gs)", n, time.Duration(rs[0].Window).Seconds())
		}
	}
	// 22: the errors are over.
	if want := " 1(1s) 6(5s) 11(5s) 12(1s) 17(5s) 21(4s) 22(1s) 27(5s)"; told != want {
		t.Errorf("told in%s, want%s", told, want)
	}
}

// TestLittleIsNoNews: neither a latency of a few requests is, nor a failure in a
// thousand.
func TestLittleIsNoNews(t *testing.T) {
	var l Log
	d := digest(&l, "a", "1")
	record(d, 1000, 0, time.Millisecond)
	due(&l, 1)
	record(d, 3, 0, time.Second)
	if due(&l, 2) != nil {
		t.Error("a latency of three")
	}
	record(d, 997, 1, time.Millisecond)
	if due(&l, 3) != nil {
		t.Error("a failure in a thousand")
	}
}

func TestReport(t *testing.T) {
	var l Log
	for n := range 2500 {
		record(digest(&l, "many", fmt.Sprint(n)), 1, 1, time.Millisecond)
	}
	d := digest(&l, "one", "1")
	for n := range 100 {
		d.Record(time.Duration(n+1)*time.Millisecond, false)
	}
	d.Record(time.Hour, true)
	instances := map[string]int{}
	for _, r := range due(&l, 1) {
		r.Caller = "c"
		if err := r.Validate(); err != nil {
			t.Error(err)
		}
		instances[r.Service.Service] += len(r.Instances)
		if r.Service.Service == "one" {
			o := r.Instances[0]
			if o.ID != "1" || o.OK != 100 || o.Errors != 1 || math.Abs(o.LatencyP50-50) > 5 || math.Abs(o.LatencyP99-99) > 10 {
				t.Errorf("told %+v", o)
			}
		}
	}
	if instances["many"] != 2500 || instances["one"] != 1 {
		t.Errorf("told of %v instances", instances)
	}
	record(d, 1, 0, time.Millisecond)
	if got := due(&l, 1000); len(got) != 1 || got[0].Window > rollcall.Duration(time.Minute) || got[0].Instances[0].OK != 1 {
		t.Errorf("later %+v", got)
	}
}

// TestTakenAlready: a digest that is queued once more for what was just taken makes no
// report, nor does it pass for what was told last.
func TestTakenAlready(t *testing.T) {
	var l Log
	d := digest(&l, "one", "1")
	record(d, 100, 0, time.Millisecond)
	if len(due(&l, 1)) != 1 {
		t.Fatal("not told")
	}
	told := d.told
	d.queued.Store(true)
	l.push(d)
	if got := due(&l, 7); got != nil || d.told != told {
		t.Errorf("told of nothing: %+v", got)
	}
}

// TestNoneIsLost: each request is told once, however many are recorded meanwhile.
func TestNoneIsLost(t *testing.T) {
	var l Log
	var ds []*Digest
	for n := range 10 {
		ds = append(ds, digest(&l, fmt.Sprint(n%3), fmt.Sprint(n)))
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for n := range 50_000 {
				ds[n%10].Record(time.Millisecond, n%7 == 0)
			}
		})
	}
	count := 0
	take := func(n int) {
		for _, r := range due(&l, n) {
			for _, o := range r.Instances {
				count += o.OK + o.Errors
			}
		}
	}
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	n := 0
	for open := true; open; n += 5 {
		select {
		case <-done:
			open = false
		default:
		}
		take(n)
	}
	take(n + 5)
	if count != 200_000 {
		t.Errorf("told of %d requests, want 200000", count)
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	var l Log
	d := digest(&l, "a", "1")
	d.Record(time.Millisecond, false)
	if n := testing.AllocsPerRun(100, func() { d.Record(time.Millisecond, false) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	var l Log
	d := digest(&l, "a", "1")
	for b.Loop() {
		d.Record(time.Millisecond, false)
	}
}
