package figures

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/rpc"
)

// What 10,000 sessions cost a server that have an instance each: with a connection each, as
// instances have, or 100 on one; when they only answer pings, and when each says every
// second how loaded it is.
var sessions = Figure{
	Name: "sessions",
	What: "10,000 sessions over gRPC with one instance each: idle, and with a report of load each second",
	Rows: sessionsRows(),
	Run: func(b *Bench) error {
		for _, k := range sessionsKinds {
			for round := 1; round <= min(b.Rounds, sessionsRounds); round++ {
				if err := b.sessions(k, round); err != nil {
					return err
				}
			}
		}
		return nil
	},
}

const (
	sessionsAll    = 10_000
	sessionsRounds = 2
	sessionsLength = 15 * time.Second
)

type sessionsKind struct {
	row     string
	conns   int
	reports bool
}

var sessionsKinds = []sessionsKind{
	{"sessions", sessionsAll, false}, {"sessions-reporting", sessionsAll, true},
	{"sessions-shared", 100, false}, {"sessions-shared-reporting", 100, true},
}

func sessionsRows() (rows []report.Row) {
	for _, k := range sessionsKinds {
		rows = append(rows, report.Row{Name: k.row, Unit: "a session", Value: "each_kb", Goals: []report.Goal{
			report.Show("each_kb"), report.Show("rss_mb"), report.Show("server_cores"),
		}})
	}
	return rows
}

func (b *Bench) sessions(k sessionsKind, round int) error {
	s, err := b.fresh("--grpc", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer b.end()
	time.Sleep(settle)
	before, err := proc.Read(s.PID)
	if err != nil {
		return err
	}
	c := &sitters{Addr: s.GRPC, Conns: k.conns, Sessions: sessionsAll, Reports: k.reports}
	g, err := b.Child("sitters", "sitters", c)
	if err != nil {
		return err
	}
	sample, err := s.watch(load.Window{Ramp: settle, Length: sessionsLength}, func(w load.Window) (report.Sample, error) {
		w.Wait()
		return report.Sample{Seconds: w.Length.Seconds()}, nil
	}, g)
	if err != nil {
		return err
	}
	if err := g.well(); err != nil {
		return err
	}
	if _, err := s.until(func(st status) bool { return st.Health["healthy"] == sessionsAll }, time.Second); err != nil {
		return fmt.Errorf("not all are healthy: %w", err)
	}
	sample.More = map[string]float64{
		"each_kb": float64(sample.RSSBytes-before.RSS) / sessionsAll / 1024, "rss_mb": float64(sample.RSSBytes) / mb,
		"server_cores": sample.ServerCPU / sample.Seconds, "generator_cores": sample.GeneratorCPU / sample.Seconds,
	}
	return b.keep(k.row, "rollcall", round, Params{"sessions": sessionsAll, "connections": k.conns, "reports": k.reports, "ttl": "default"}, sample)
}

// well returns what went wrong with sitters.
func (s Server) well() error {
	reply, err := http.Get("http://" + s.Addr)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	var problem string
	if err := json.NewDecoder(reply.Body).Decode(&problem); err != nil || problem == "" {
		return err
	}
	return fmt.Errorf("sessions failed: %s", problem)
}

// sitters are sessions in a process of their own, on one thread.
type sitters struct {
	Addr            string
	Conns, Sessions int
	Reports         bool // each second

	mu         sync.Mutex // guards what follows
	registered int
	problem    string
}

// serveSitters is the role of sitters.
func serveSitters(config []byte) (any, error) {
	s := &sitters{}
	if err := json.Unmarshal(config, s); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &rpc.Client{
		Addr: s.Addr, Conns: s.Conns, Message: s.message,
		Ended: func(_ *rpc.Stream, err error) { s.failed(fmt.Sprint("a stream has ended: ", err)) },
	}
	if err := c.Open(); err != nil {
		return nil, err
	}
	go func() {
		s.failed(fmt.Sprint(c.Run(time.Now().Add(time.Hour), s.sitting(c)))) // until the process ends
	}()
	if err := s.all(); err != nil {
		return nil, err
	}
	child.Ready(ln.Addr().String())
	return nil, http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		json.NewEncoder(w).Encode(s.problem)
	}))
}

var sitterPong = driver.Frame(&pb.SessionRequest{Say: &pb.SessionRequest_Pong{Pong: &pb.Pong{}}})

// sitting opens the sessions, a number at a time, and then has one after the other say how
// loaded it is.
func (s *sitters) sitting(c *rpc.Client) func(time.Time) time.Time {
	const atOnce, gap = 50, 10 * time.Millisecond
	open := driver.Frame(&pb.SessionRequest{Ref: 1, Say: &pb.SessionRequest_Open{Open: &pb.OpenSession{}}})
	var all []*rpc.Stream
	var reports [][]byte
	turn, begun := 0, time.Time{}
	return func(now time.Time) time.Time {
		for left := atOnce; left > 0 && len(all) < s.Sessions; left-- {
			n := len(all)
			st := c.Call(n%s.Conns, driver.RollcallSessionMethod, nil)
			st.Send(open)
			service, id := fmt.Sprintf("service-%05d", n%1000), fmt.Sprintf("i-%09d", n)
			st.Send(driver.Frame(&pb.SessionRequest{Ref: 2, Say: &pb.SessionRequest_Register{
				Register: driver.RollcallInstance(service, id, `"lease":{"mode":"session"}`),
			}}))
			reports = append(reports, driver.Frame(&pb.SessionRequest{Ref: 3, Say: &pb.SessionRequest_Report{Report: &pb.Renewal{
				Service: service, Id: id, Report: &pb.InstanceReport{Load: &pb.Load{Utilization: 0.4, InFlight: 12, Rps: 200, LatencyP50Ms: 3, LatencyP99Ms: 20}},
			}}}))
			all, begun = append(all, st), now
		}
		if len(all) < s.Sessions || !s.Reports {
			return now.Add(gap)
		}
		for ; float64(turn) < now.Sub(begun).Seconds()*float64(s.Sessions); turn++ {
			all[turn%len(all)].Send(reports[turn%len(all)])
		}
		return now.Add(time.Millisecond)
	}
}

func (s *sitters) message(st *rpc.Stream, b []byte, _ time.Time) {
	var m pb.SessionResponse
	if err := proto.Unmarshal(b, &m); err != nil {
		s.failed(err.Error())
		return
	}
	switch say := m.Say.(type) {
	case *pb.SessionResponse_Ping:
		st.Send(sitterPong)
	case *pb.SessionResponse_Registered:
		s.mu.Lock()
		s.registered++
		s.mu.Unlock()
	case *pb.SessionResponse_Error:
		s.failed(say.Error.GetDetail())
	case *pb.SessionResponse_Lost, *pb.SessionResponse_Closing:
		s.failed(m.String())
	}
}

func (s *sitters) failed(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problem == "" {
		s.problem = why
	}
}

// all waits until all are registered.
func (s *sitters) all() error {
	for deadline := time.Now().Add(50 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		have, problem := s.registered, s.problem
		s.mu.Unlock()
		switch {
		case problem != "" || time.Now().After(deadline):
			return fmt.Errorf("%d of %d sessions are there: %s", have, s.Sessions, problem)
		case have == s.Sessions:
			return nil
		}
	}
}
