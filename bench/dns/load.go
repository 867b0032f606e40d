package dns

import (
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rollcall-registry/rollcall/bench/load"
)

// Load is what to do to a server.
type Load struct {
	Addr    string // address:port
	Sockets int
	// Flight is how many queries are under way on each socket, at most; a power of two.
	Flight int
	// Rate is how many queries arrive a second, as a Poisson process; 0 is a closed loop.
	Rate float64
	// Lost is how long an answer is waited for; 0 is 1 s.
	Lost   time.Duration
	Window load.Window
	Query  Query
	// Next gives the service of each query.
	Next func() int
	// Mixed has the letters of names in mixed cases.
	Mixed bool
	// Records is how many a good answer has at least; 0: the server sends back what it got.
	Records int
}

// Run loads the server for the time of the window, and returns what became of the queries.
// In a closed loop those count that are answered or lost in the window, in an open one those
// that were due in it. What was lost is Unanswered.
func (l Load) Run() (*load.Result, error) {
	addr, err := netip.ParseAddrPort(l.Addr)
	if err != nil {
		return nil, err
	}
	if l.Lost == 0 {
		l.Lost = time.Second
	}
	peer := &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	lp, err := newLoop(&l, peer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.Addr, err)
	}
	defer lp.free()
	var window sync.WaitGroup
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := time.Now()
	window.Go(l.Window.Wait)
	err = lp.run(start, l.Window)
	window.Wait()
	lp.result.Length, lp.result.Good = l.Window.Length, lp.result.Done
	return &lp.result, err
}
