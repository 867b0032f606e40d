package figures

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/proc"
	"github.com/rollcall-registry/rollcall/bench/rpc"
)

// streams are watchers over gRPC in a process of their own: connections with a number of
// streams each, and streams with a number of subscriptions each, on one thread. Those of a
// connection are of different services, one after the other. It tells what it has seen to
// whoever asks it over HTTP.
type streams struct {
	Addr     string
	Conns    int
	Streams  int // on each connection
	Each     int // subscriptions of each stream
	Services int
}

// arrival is that a change came, when by the clock that all processes share.
type arrival struct {
	Change, At int64
}

// told is what streams have been told since they were asked before.
type told struct {
	mu       sync.Mutex
	states   int // that are whole
	problem  error
	arrivals []arrival
}

// serveStreams is the role of streams.
func serveStreams(config []byte) (any, error) {
	var s streams
	if err := json.Unmarshal(config, &s); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &told{}
	c := &rpc.Client{
		Addr: s.Addr, Conns: s.Conns, Message: t.message,
		Ended: func(_ *rpc.Stream, err error) { t.failed(fmt.Errorf("a stream has ended: %v", err)) },
	}
	if err := c.Open(); err != nil {
		return nil, err
	}
	go func() {
		t.failed(c.Run(time.Now().Add(time.Hour), s.opening(c))) // until the process ends
	}()
	if err := t.all(s.Conns * s.Streams * s.Each); err != nil {
		return nil, err
	}
	child.Ready(ln.Addr().String())
	return nil, http.Serve(ln, http.HandlerFunc(t.report))
}

// opening opens the streams, a number at a time.
func (s streams) opening(c *rpc.Client) func(time.Time) time.Time {
	const atOnce, gap = 200, 10 * time.Millisecond
	n := 0
	return func(now time.Time) time.Time {
		for left := atOnce; left > 0 && n < s.Conns*s.Streams; left-- {
			conn, at := n%s.Conns, n/s.Conns
			stream := c.Call(conn, driver.RollcallWatchMethod, nil)
			for i := range s.Each {
				service := (conn*s.Streams*s.Each + at*s.Each + i) % s.Services
				stream.Send(driver.RollcallSubscribe(uint64(i+1), fmt.Sprintf("service-%05d", service)))
			}
			n++
		}
		if n == s.Conns*s.Streams {
			return now.Add(time.Hour)
		}
		return now.Add(gap)
	}
}

// all waits until so many subscriptions have their state.
func (t *told) all(want int) error {
	for deadline := time.Now().Add(50 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		t.mu.Lock()
		have, problem := t.states, t.problem
		t.mu.Unlock()
		switch {
		case problem != nil || time.Now().After(deadline):
			return fmt.Errorf("%d of %d subscriptions are there: %v", have, want, problem)
		case have == want:
			return nil
		}
	}
}

func (t *told) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.problem == nil {
		t.problem = err
	}
}

// rpcMark is [driver.Mark] in a message of gRPC: a pair's name, and the beginning of its
// value of nine digits.
var rpcMark = []byte("\x0a\x05build\x12\x09")

// message takes in what a WatchResponse says.
func (t *told) message(_ *rpc.Stream, m []byte, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for rest := m; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		if n < 0 {
			return
		}
		switch num {
		case 2: // a state, here always whole
			t.states++
			return
		case 3:
			t.changes(rest, at)
			return
		}
		rest = rest[n:]
		if n = protowire.ConsumeFieldValue(num, typ, rest); n < 0 {
			return
		}
		rest = rest[n:]
	}
}

func (t *told) changes(m []byte, at time.Time) {
	for {
		i := bytes.Index(m, rpcMark)
		if i < 0 || len(m) < i+len(rpcMark)+9 {
			return
		}
		m = m[i+len(rpcMark):]
		if n, err := strconv.Atoi(string(m[:9])); err == nil {
			t.arrivals = append(t.arrivals, arrival{int64(n), proc.Clock(at)})
		}
	}
}

// report tells what was seen, and forgets it.
func (t *told) report(rw http.ResponseWriter, _ *http.Request) {
	t.mu.Lock()
	all, problem := t.arrivals, t.problem
	t.arrivals = nil
	t.mu.Unlock()
	if problem != nil {
		http.Error(rw, problem.Error(), http.StatusInternalServerError)
		return
	}
	binary.Write(rw, binary.LittleEndian, all)
}

// arrivals returns what streams have seen since they were asked before.
func (s Server) arrivals() ([]arrival, error) {
	reply, err := http.Get("http://" + s.Addr)
	if err != nil {
		return nil, err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		return nil, err
	}
	if reply.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", text)
	}
	all := make([]arrival, len(text)/16)
	_, err = binary.Decode(text, binary.LittleEndian, all)
	return all, err
}
