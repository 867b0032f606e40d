package httpapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi"
)

// drain drains an instance.
func (w *world) drain(instance, wait string) (b rollcall.Barrier) {
	w.t.Helper()
	r := w.do("POST", "/api/v1/services/"+instance+"/drain?wait="+wait, "").want(200)
	if err := json.Unmarshal(r.body, &b); err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) wantBarrier(b rollcall.Barrier, acknowledged, pending int) {
	w.t.Helper()
	if b.Acknowledged != acknowledged || b.Pending != pending {
		w.t.Errorf("%+v, want %d acknowledged and %d pending", b, acknowledged, pending)
	}
}

// watchers lists those of payments.
func (w *world) watchers() []rollcall.Watcher {
	w.t.Helper()
	var list struct{ Watchers []rollcall.Watcher }
	r := w.do("GET", "/api/v1/services/payments/watchers", "").want(200)
	if err := json.Unmarshal(r.body, &list); err != nil {
		w.t.Fatal(err)
	}
	return list.Watchers
}

// ack acknowledges for a stream.
func (s *watcher) ack(rev rollcall.Revision) {
	s.w.t.Helper()
	s.w.do("POST", "/api/v1/watch/ack", fmt.Sprintf(`{"subscription":%q,"revision":%d}`, s.resp.Header.Get("X-Rollcall-Subscription"), rev)).want(204)
}

// A drain returns once those who read have it, whatever they read.
func TestDrainIsSeen(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1", "p-2", "p-3")
	w.register("billing", "b-1")
	for _, s := range []*watcher{
		w.watch("/api/v1/services/payments/watch?caller=web-1"),
		w.watch("/api/v1/services/payments/watch?cap.gpu=2"), // sees none of it
		w.watch("/api/v1/watch?namespace=default", "Accept", "text/event-stream"),
		w.watch("/api/v1/watch", "Accept-Encoding", "gzip"),
		w.watch("/api/v1/services/billing/watch"), // is not told
	} {
		s.next("snapshot")
	}
	b := w.drain("payments/instances/p-1", "20s")
	w.wantBarrier(b, 4, 0)
	if b.Elapsed > rollcall.Duration(10*time.Second) {
		t.Errorf("it took %v", b.Elapsed)
	}
	w.wantBarrier(w.drain("payments/instances/p-1", "20s"), 4, 0) // it drains already
	doors := map[string]int{}
	for _, o := range w.watchers() {
		doors[o.Door]++
		if _, err := net.ResolveTCPAddr("tcp", o.From); err != nil || o.Lag != 0 || o.Revision == 0 {
			t.Errorf("%+v", o)
		}
	}
	if doors["http"] != 3 || doors["sse"] != 1 {
		t.Errorf("watched by %v", doors)
	}
	if o := w.watchers()[3]; o.Caller != "web-1" {
		t.Errorf("%+v, want web-1 as the last", o)
	}
	for _, again := range []int{200, 200} { // the second time it is a renewal
		r := w.do("PUT", "/api/v1/services/payments/instances/p-1?wait=seen", `{"address":"10.0.0.9"}`).want(again)
		if got := r.Header.Get("X-Rollcall-Pending"); got != "0" {
			t.Errorf("X-Rollcall-Pending is %q", got)
		}
	}
}

// Once a watcher has acknowledged by itself, nothing else counts.
func TestExactAck(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1", "p-2")
	s := w.watch("/api/v1/services/payments/watch?caller=web-1")
	first := s.next("snapshot")
	s.ack(first.Revision)
	done := make(chan rollcall.Barrier)
	go func() { done <- w.drain("payments/instances/p-1", "20s") }()
	gone := s.next("remove")
	if o := w.watchers(); len(o) != 1 || o[0].Revision != first.Revision || o[0].Lag != 1 || o[0].Subscription != s.resp.Header.Get("X-Rollcall-Subscription") {
		t.Errorf("%+v", o)
	}
	w.wantBarrier(w.drain("payments/instances/p-1", "50ms"), 0, 1) // it has all of it, and has not said so
	select {
	case b := <-done:
		t.Fatalf("the drain ended with %+v", b)
	default:
	}
	s.ack(gone.Revision)
	w.wantBarrier(<-done, 1, 0)
}

// TestAcksFromTheBeginning: who says that it acknowledges has nothing before it does,
// whatever was delivered to it.
func TestAcksFromTheBeginning(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1", "p-2")
	s := w.watch("/api/v1/services/payments/watch?acks=1")
	s.next("snapshot")
	w.wantBarrier(w.drain("payments/instances/p-1", "50ms"), 0, 1)
	s.ack(s.next("remove").Revision)
	w.wantBarrier(w.drain("payments/instances/p-1", "20s"), 1, 0)
	w.do("GET", "/api/v1/services/payments/watch?acks=perhaps", "").want(400)
}

// A watcher that does not read is waited for while what it was sent is on the
// way, and has it once it reads.
func TestUnreadIsPending(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what is sent counts as delivered here")
	}
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1", "p-2")
	c, r := w.raw("GET /api/v1/watch?health=any HTTP/1.1\r\nHost: x\r\n\r\n")
	c.(*net.TCPConn).SetReadBuffer(64 << 10) // not the many megabytes that it may grow to
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Fatal(line, err)
	}
	if _, err := until(r, `"snapshot"`); err != nil {
		t.Fatal(err)
	}
	w.wantBarrier(w.drain("payments/instances/p-2", "20s"), 1, 0) // there is room for that

	// More than the window holds, and less than would block the server for long.
	meta := `{"address":"10.0.0.1","metadata":{"x":"` + strings.Repeat("x", 500) + `","n":"%d"}}`
	for n := 0; ; n++ {
		if code := w.do("PUT", "/api/v1/services/filler/instances/"+strconv.Itoa(n%50), fmt.Sprintf(meta, n)).StatusCode; code >= 300 {
			t.Fatal(code)
		}
		if n%50 == 49 && w.drain("filler/instances/49", "1s").Pending == 1 {
			break
		}
		if n == 50_000 {
			t.Fatal("the window is never full")
		}
	}
	w.wantBarrier(w.drain("payments/instances/p-1", "100ms"), 0, 1)
	done := make(chan rollcall.Barrier)
	go func() { done <- w.drain("payments/instances/p-1", "20s") }()
	if _, err := until(r, `"draining"`); err != nil { // reads on
		t.Fatal(err)
	}
	go io.Copy(io.Discard, r)
	w.wantBarrier(<-done, 1, 0)
}

// until reads to the line that has what is wanted.
func until(r *bufio.Reader, what string) (string, error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil || strings.Contains(line, what) {
			return line, err
		}
	}
}

// A watcher whose connection ends is not waited for any longer, and nor is
// anybody when the one who waits leaves.
func TestWhoLeavesIsNotWaitedFor(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1")
	s := w.watch("/api/v1/services/payments/watch")
	s.ack(s.next("snapshot").Revision)
	done := make(chan rollcall.Barrier)
	go func() { done <- w.drain("payments/instances/p-1", "20s") }()
	s.next("remove")
	s.stop()
	w.wantBarrier(<-done, 0, 0)

	s = w.watch("/api/v1/services/payments/watch")
	s.ack(s.next("snapshot").Revision)
	c, _ := w.raw("POST /api/v1/services/payments/instances/p-1/drain?wait=10m HTTP/1.1\r\nHost: x\r\n\r\n")
	c.Close() // the server would not close before the request has ended
	go func() { done <- w.drain("payments/instances/p-1", "10m") }()
	w.register("payments", "p-2") // and p-1 anew: both go on waiting for nobody
	s.next("put")
	w.reg.EndStreams()
	b := <-done
	if b.Elapsed > rollcall.Duration(10*time.Second) {
		t.Errorf("the end of the streams did not end the drain: %+v", b)
	}
}
