package wire

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcall-registry/rollcall/bench/load"
)

// Load is what to do to a server.
type Load struct {
	Addr    string // host:port
	Conns   int    // connections, kept alive
	Threads int    // that share the connections; 0 is 1
	// Rate is how many requests arrive a second, as a Poisson process; 0 is a closed loop.
	Rate float64
	// Even makes them arrive at equal distances instead.
	Even bool
	// Line is how many arrivals may wait for a free connection; those behind are refused
	// at once. 0 is no limit, less than 0 is none.
	Line int
	// Good is how late an answer may come and still count as good; 0 is 1 s.
	Good time.Duration
	// Patience is how long to wait at the end of an open loop for the answers that are
	// missing; 0 is 2 s.
	Patience time.Duration
	Window   load.Window
	// Total, if it is not 0, is how many requests there are: the load ends when all of them
	// are answered, and counts from the begin, whatever the window says.
	Total int
	// Source makes the requests of a thread.
	Source func(thread int) Source
}

// Source makes requests. One thread calls it.
type Source struct {
	// Next appends a request to dst. What it returns as tag, Seen gets with the reply.
	Next func(dst []byte) (request []byte, tag int)
	// Seen, which may be nil, is told of each reply.
	Seen func(tag int, r *Reply)
	// Due, which may be nil, is told before a request is sent when it was to be.
	Due func(tag int, at time.Time)
}

// Run connects, loads the server for the time of the window, and returns what became of
// it. The result's Err says what the first of the failures was.
func (l Load) Run() (*load.Result, error) {
	addr, err := net.ResolveTCPAddr("tcp4", l.Addr)
	if err != nil {
		return nil, err
	}
	l.Threads = max(l.Threads, 1)
	if l.Good == 0 {
		l.Good = time.Second
	}
	if l.Patience == 0 {
		l.Patience = 2 * time.Second
	}
	peer := &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	loops := make([]*loop, l.Threads)
	for i := range loops {
		conns := l.Conns / l.Threads
		if i < l.Conns%l.Threads {
			conns++
		}
		if loops[i], err = newLoop(&l, peer, conns, l.Source(i)); err != nil {
			err = fmt.Errorf("connecting to %s: %w", l.Addr, err)
			break
		}
		if l.Total > 0 {
			loops[i].left = l.Total / l.Threads
			if i < l.Total%l.Threads {
				loops[i].left++
			}
		}
		defer loops[i].free()
	}
	if err != nil {
		return nil, err
	}
	return l.drive(loops)
}

// longest is how long a load may take that ends by itself.
const longest = time.Hour

// drive runs the loops, each on a thread of its own.
func (l Load) drive(loops []*loop) (*load.Result, error) {
	start := time.Now()
	begin := start.Add(l.Window.Ramp)
	end := begin.Add(l.Window.Length)
	if l.Total > 0 {
		begin, end = start, start.Add(longest)
	}
	var threads sync.WaitGroup
	errs := make([]error, len(loops))
	for i, lp := range loops {
		threads.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			errs[i] = lp.run(start, begin, end)
		})
	}
	total := &load.Result{Length: l.Window.Length}
	if l.Total == 0 {
		l.Window.Wait()
		threads.Wait()
	} else {
		l.Window.Around(threads.Wait)
		total.Length = time.Since(start)
	}
	for i, lp := range loops {
		if errs[i] != nil {
			return nil, errs[i]
		}
		total.Merge(&lp.result)
	}
	return total, nil
}
