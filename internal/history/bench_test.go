package history

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

const (
	fleet    = 100_000 // instances
	services = 1000
	perStep  = 100 // events a second
)

// world makes what a registry's history may look like: instances whose images
// have some 400 bytes and little in common but their shape.
type world struct {
	*rand.Rand
	images []string // by instance; "" is not registered
	n      int
}

func newWorld() *world {
	return &world{Rand: rand.New(rand.NewPCG(1, 2)), images: make([]string, fleet)}
}

func (w *world) id(i int) string {
	return fmt.Sprintf("svc-%d-%x-%05x", i%services, uint32(i/7)*2654435761, uint64(i)*11400714819323198485>>44)
}

func (w *world) image(i int) string {
	return fmt.Sprintf("\x0a\x0c10.%d.%d.%d\x12\x04http\x18%d\x12\x04grpc\x18%d"+
		"\x1aregion=eu-central-%d,zone=eu-central-%d%c,node=ip-10-%d-%d-%d.internal\x22"+
		"version=%d.%d.%d\x22build=%016x\x22commit=%08x\x22team=team-%d\x22started=%d"+
		"\x22image=registry.internal/team-%d/service-%d:%d.%d.%d\x2alease=ttl,15s\x2acheck=http,/healthz,10s,2s"+
		"\x32weight=100,warmup=30s\x3aorigin=k8s,owner=system:serviceaccount:svc-%d:default,incarnation=%d",
		i%250, w.IntN(250), w.IntN(250), 8000+w.IntN(1000), 9000+w.IntN(1000),
		1+i%3, 1+i%3, 'a'+i%3, i%250, w.IntN(250), w.IntN(250),
		w.IntN(9), w.IntN(30), w.IntN(100), w.Uint64(), w.Uint32(), i%services%40, 1_700_000_000+w.n/perStep,
		i%services%40, i%services, w.IntN(9), w.IntN(30), w.IntN(100), i%services, w.n)
}

// next is the next event: 45 % registrations, 45 % flips of health, 10 % removals.
func (w *world) next() Entry {
	i := w.IntN(fleet)
	w.n++
	e := Entry{Log: logA, Image: w.images[i], Event: rollcall.Event{
		Revision: rollcall.Revision(w.n), Namespace: "default", Service: fmt.Sprint("service-", i%services), ID: w.id(i),
		At: epoch.Add(time.Duration(w.n)*time.Second/perStep + time.Duration(w.IntN(1e6))), Before: rollcall.Healthy, After: rollcall.Healthy,
	}}
	switch n := w.IntN(100); {
	case n < 45 || w.images[i] == "":
		e.Type, e.By, e.Via = "registered", fmt.Sprintf("system:serviceaccount:svc-%d:default", i%services), "http"
		w.images[i] = w.image(i)
	case n < 90:
		e.Type, e.By, e.Via, e.After = "health", "rollcall", "lease", rollcall.Unhealthy
		e.Why = fmt.Sprintf("lease: not renewed for %d ms", 15000+w.IntN(1000))
	default:
		e.Type, e.By, e.Via, e.Why, e.After = "removed", "rollcall", "lease", "silent for 10m0s", 0
		w.images[i] = ""
	}
	return e
}

// million fills a history with a million events.
func million(tb testing.TB, dir string) (*History, *world) {
	h, w := open(tb, dir, 0), newWorld()
	for n := range 1_000_000 {
		h.Add(w.next())
		if n%1000 == 0 && h.Waiting() > writeAt {
			h.flush()
		}
	}
	h.flush()
	return h, w
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkMillion measures what a million events cost on disk and in memory,
// and how long it takes to find something in them.
func BenchmarkMillion(b *testing.B) {
	dir := b.TempDir()
	h, w := million(b, dir)
	h.Close()
	all := int64(0)
	for _, i := range w.images {
		all += int64(len(i))
	}
	end := epoch.Add(time.Duration(w.n) * time.Second / perStep)
	b.Run("Open", func(b *testing.B) {
		for b.Loop() {
			open(b, dir, 0).Close()
		}
	})
	before := heap()
	h = open(b, dir, 0)
	b.Run("Size", func(b *testing.B) {
		for b.Loop() {
			h.Len()
		}
		b.ReportMetric(float64(h.Bytes())/float64(h.Len()), "B/event")
		b.ReportMetric((heap()-before)/(1<<20), "MiB-heap")
	})
	for name, f := range map[string]rollcall.EventFilter{
		"service":  {Service: "service-7"},
		"instance": {Service: "service-7", ID: w.id(7)},
		"newest":   {},
		"unknown":  {Service: "nothing"},
		"hour":     {Service: "service-7", Since: end.Add(-90 * time.Minute), Until: end.Add(-30 * time.Minute)},
	} {
		for _, limit := range []int{100, 1_000_000} {
			b.Run(fmt.Sprintf("Events/%s/%d", name, limit), func(b *testing.B) {
				n := 0
				for b.Loop() {
					h.cache.last = nil
					es, _, err := h.Events(f, "", limit)
					if err != nil {
						b.Fatal(err)
					}
					n = len(es)
				}
				b.ReportMetric(float64(n), "events")
			})
		}
	}
	for _, back := range []time.Duration{time.Minute, 15 * time.Minute, time.Hour, 2 * time.Hour} {
		for name, service := range map[string]rollcall.ServiceKey{"all": {}, "service": rollcall.NewServiceKey("", "service-7")} {
			b.Run(fmt.Sprintf("Since/%s/%v", name, back), func(b *testing.B) {
				n := 0
				for b.Loop() {
					images, err := h.Since(end.Add(-back), service)
					if err != nil {
						b.Fatal(err)
					}
					n = len(images)
				}
				b.ReportMetric(float64(n), "images")
			})
		}
	}
	b.Logf("images of %d bytes", all/int64(fleet))
}

// BenchmarkAdd is the cost to the apply loop; the writing is beside it.
func BenchmarkAdd(b *testing.B) {
	w := newWorld()
	es := make([]Entry, 100_000)
	for i := range es {
		es[i] = w.next()
	}
	h := open(b, b.TempDir(), 0)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		e := &es[n%len(es)]
		e.Revision = rollcall.Revision(n + 1)
		h.Add(*e)
		if n%10_000 == 0 {
			b.StopTimer()
			h.flush()
			b.StartTimer()
		}
	}
}

// picture is an image that is told when it is needed.
type picture struct {
	text string
	told int
}

func (p *picture) AppendImage(b []byte) []byte {
	p.told++
	return append(b, p.text...)
}

// TestStood: an image that is told is kept as one that is given, and is not asked
// for where nothing is kept.
func TestStood(t *testing.T) {
	h := open(t, "", 0)
	p := &picture{text: strings.Repeat("x", 400)}
	for _, e := range []Entry{event(0), event(1)} {
		e.Revision, e.Stood = 7, p
		if e.ID = "told"; h.Len() > 0 {
			e.Revision = 6 // it is there already
		}
		h.Add(e)
	}
	if p.told != 1 {
		t.Errorf("told %d times, want once", p.told)
	}
	p = &picture{}
	nothing := event(2)
	nothing.Revision, nothing.ID, nothing.Stood = 8, "nothing", p
	h.Add(nothing)
	text, err := h.text(h.view().blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	var images []string
	if err := each(h.view().blocks[0], text, func(_ int, e *Entry) { images = append(images, e.Image) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{strings.Repeat("x", 400), ""}, images); diff != "" {
		t.Error(diff)
	}
}

// TestAddAllocates less than once an event.
func TestAddAllocates(t *testing.T) {
	h := open(t, "", 0)
	e := event(0)
	e.Stood = &picture{text: strings.Repeat("x", 400)}
	if n := testing.AllocsPerRun(10_000, func() { e.Revision++; h.Add(e) }); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}
