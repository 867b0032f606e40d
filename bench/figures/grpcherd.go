package figures

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
	"github.com/rollcall-registry/rollcall/client"
)

// A server that was killed and started again is not taken down by its clients: 10,000 of
// them, each with a connection, a session with an instance, and a subscription, are back
// within 10 s and the longest pause between two attempts, also if it has lost its data; and
// nobody is told meanwhile that an instance is gone.
var grpcHerd = Figure{
	Name: "grpc-herd",
	What: "10,000 clients of gRPC whose server is killed and started again, until all are back",
	Rows: []report.Row{
		{Name: "grpc-herd-known", Unit: "until all are back", Value: "back_s", Goals: grpcHerdGoals},
		{Name: "grpc-herd-wiped", Unit: "until all are back", Value: "back_s", Goals: grpcHerdGoals},
	},
	Run: func(b *Bench) error {
		clients := herdClients
		if b.Short {
			clients = 1000
		}
		for round := 1; round <= min(b.Rounds, grpcHerdRounds); round++ {
			for _, wiped := range []bool{false, true} {
				if err := b.grpcHerd(round, clients, wiped); err != nil {
					return err
				}
				b.end()
			}
		}
		return nil
	},
}

// herdPause is the longest pause of a client between two attempts.
const herdPause = 5

var grpcHerdGoals = []report.Goal{
	report.AtMost("back_s", 10+herdPause), report.Exactly("removals", 0), report.Show("peak_mb"), report.P99(50), report.Show("server_cores"),
	report.Show("back_server_cpu_s"), report.Show("back_clients_cpu_s"),
}

const (
	herdClients    = 10_000
	herdProcesses  = 2 // so that each has descriptors enough
	herdServices   = 1000
	herdGarbage    = 400 // as GOGC: a client that has a process to itself hardly ever collects
	grpcHerdRounds = 2
	herdWindow     = 40 * time.Second // from the start: beyond a TTL
)

func (b *Bench) grpcHerd(round, clients int, wiped bool) error {
	row := "grpc-herd-known"
	if wiped {
		row = "grpc-herd-wiped"
	}
	dir, err := os.MkdirTemp(b.dir, "rollcall-")
	if err != nil {
		return err
	}
	s, err := b.startIn(dir, "--grpc", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var gone atomic.Int64
	stop, err := watchRemovals(s.Addr, &gone)
	if err != nil {
		return err
	}
	defer stop()
	b.progress("beginning %d clients", clients)
	all := make([]Server, herdProcesses)
	for i := range all {
		n := clients / herdProcesses
		if all[i], err = b.Child("clients", "clients", herdOf{Addr: s.GRPC, First: i * n, Clients: n}); err != nil {
			return err
		}
	}
	if err := flock(all).until(clients, time.Minute); err != nil {
		return err
	}
	b.progress("killing the server")
	b.Stop(s)
	if wiped {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := flock(all).forget(); err != nil {
		return err
	}
	start := time.Now()
	if s, err = b.startIn(dir, "--http", s.Addr, "--grpc", s.GRPC); err != nil {
		return err
	}
	sample, err := b.herdBack(s, flock(all), clients, start)
	if err != nil {
		return fmt.Errorf("%s: %w", row, err)
	}
	sample.More["removals"] = float64(gone.Load())
	if b.Short {
		sample.Note = fmt.Sprintf("%d clients only", clients)
	}
	return b.keep(row, "rollcall", round, Params{"clients": clients, "services": herdServices, "wiped": wiped, "reads_per_second": 200}, sample)
}

// herdBack reads from the server while the clients come back, and counts when they are.
func (b *Bench) herdBack(s Server, all flock, clients int, start time.Time) (report.Sample, error) {
	for i := range 10 {
		if _, _, err := wire.Once(s.Addr, driver.RollcallNews(s.Addr).Append(nil, i, 0)); err != nil {
			return report.Sample{}, err
		}
	}
	back := make(chan error, 1)
	var took, server, others time.Duration
	before := all.cpu()
	go func() {
		err := all.until(clients, herdWindow)
		took = time.Since(start)
		server, others = flock{s}.cpu(), all.cpu()-before
		back <- err
	}()
	l := wire.Load{Addr: s.Addr, Conns: 32, Rate: 200, Source: one(driver.RollcallOf(s.Addr, driver.Watched), func() (int, int) { return 0, 0 })}
	sample, err := s.watch(load.Window{Length: herdWindow}, func(w load.Window) (report.Sample, error) {
		l.Window = w
		r, err := l.Run()
		if err != nil {
			return report.Sample{}, err
		}
		return report.Of(r, 1), nil
	}, all...)
	if err != nil {
		return sample, err
	}
	if err := <-back; err != nil {
		return sample, err
	}
	u, err := proc.Read(s.PID)
	if err != nil {
		return sample, err
	}
	st, err := s.status()
	if err == nil && st.Health["healthy"] < clients {
		err = fmt.Errorf("%d are healthy of %d", st.Health["healthy"], clients)
	}
	sample.More = map[string]float64{
		"back_s": took.Seconds(), "peak_mb": float64(u.Peak) / mb, "server_cores": sample.ServerCPU / sample.Seconds,
		"back_server_cpu_s": server.Seconds(), "back_clients_cpu_s": others.Seconds(),
	}
	return sample, err
}

// watchRemovals counts what a watcher of everything is told to be gone.
func watchRemovals(addr string, gone *atomic.Int64) (stop func(), err error) {
	c, err := client.Dial("http://" + addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		for e, err := range c.Watch(ctx, rollcall.Query{Namespace: "default"}) {
			if err == nil && e.Type == client.EventRemove {
				gone.Add(1)
			}
		}
	})
	return func() { cancel(); watching.Wait(); c.Close() }, nil
}

// flock are the processes that clients are in.
type flock []Server

// cpu returns the processor time that they have taken.
func (f flock) cpu() (sum time.Duration) {
	for _, s := range f {
		u, _ := proc.Read(s.PID) // 0 of one that is gone, of which others tell
		sum += u.CPU
	}
	return sum
}

// forget has the clients forget that they ever were there.
func (f flock) forget() error {
	for _, s := range f {
		reply, err := http.Post("http://"+s.Addr, "", nil)
		if err != nil {
			return err
		}
		reply.Body.Close()
	}
	return nil
}

// until waits until so many clients are there.
func (f flock) until(want int, patience time.Duration) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		var all herdState
		for _, s := range f {
			reply, err := http.Get("http://" + s.Addr)
			if err != nil {
				return err
			}
			var st herdState
			err = json.NewDecoder(reply.Body).Decode(&st)
			reply.Body.Close()
			if err != nil {
				return err
			}
			all.Registered, all.Subscribed = all.Registered+st.Registered, all.Subscribed+st.Subscribed
			if st.Error != "" {
				all.Error = st.Error
			}
		}
		switch {
		case all.Registered == want && all.Subscribed == want:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("after %v: of %d clients %+v", patience, want, all)
		}
	}
}

// herdOf are clients in a process of their own.
type herdOf struct {
	Addr           string
	First, Clients int
}

// herdState is how many of them are there.
type herdState struct {
	Registered, Subscribed int
	Error                  string
}

// herdClient is one of them.
type herdClient struct {
	sub        *client.Subscription
	registered atomic.Bool
	since      atomic.Int64 // in ns since 1970: what was known before does not count
}

// serveHerd is the role of clients.
func serveHerd(config []byte) (any, error) {
	var h herdOf
	if err := json.Unmarshal(config, &h); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	debug.SetGCPercent(herdGarbage)
	all := make([]herdClient, h.Clients)
	for i := range all {
		if err := all[i].begin(h.Addr, h.First+i); err != nil {
			return nil, err
		}
		time.Sleep(time.Millisecond) // they did not all begin at once
	}
	child.Ready(ln.Addr().String())
	return nil, http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var st herdState
		now := time.Now()
		for i := range all {
			c := &all[i]
			if r.Method == http.MethodPost {
				c.registered.Store(false)
				c.since.Store(now.UnixNano())
				continue
			}
			if c.registered.Load() {
				st.Registered++
			}
			if v := c.sub.View(); v.Known() && now.Add(-v.Age()).UnixNano() > c.since.Load() {
				st.Subscribed++
			}
		}
		json.NewEncoder(w).Encode(st)
	}))
}

func (c *herdClient) begin(addr string, n int) error {
	conn, err := client.Dial("grpc://" + addr)
	if err != nil {
		return err
	}
	service := func(n int) string { return fmt.Sprintf("service-%05d", n%herdServices) }
	_, err = conn.Keep(rollcall.Instance{
		Service: service(n), ID: fmt.Sprintf("i-%09d", n), Address: "10.0.3.17", Ports: map[string]uint16{"http": 8080},
		Lease: rollcall.Lease{Mode: rollcall.LeaseSession},
	}, client.WithNotify(func(note client.Notice) {
		if note.Kind != client.NoticeFailing {
			c.registered.Store(true)
		}
	}))
	if err != nil {
		return err
	}
	c.sub, err = conn.Subscribe(rollcall.Query{Service: service(n + 1)})
	return err
}
