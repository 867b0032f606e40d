package wire

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rollcall-registry/rollcall/bench/load"
)

// loop is one thread: its connections, and the arrivals that wait for one of them. Times
// are since the start of the load.
type loop struct {
	load   *Load
	peer   unix.Sockaddr
	source Source
	epoll  int
	conns  []conn
	spare  []int32 // connections without a request, the one that was last used at the end

	start      time.Time
	begin, end time.Duration   // the window
	gap        float64         // mean distance of arrivals; 0: closed loop
	next       time.Duration   // the next arrival
	line       []time.Duration // arrivals that wait, behind the served ones
	served     int             // of the line
	left       int             // still to come, if there is a total
	rng        *rand.Rand
	events     [256]unix.EpollEvent
	scratch    []byte // for replies
	result     load.Result
}

// newLoop makes a thread's connections and waits until they are there.
func newLoop(l *Load, peer unix.Sockaddr, conns int, s Source) (lp *loop, err error) {
	lp = &loop{
		load: l, peer: peer, source: s, conns: make([]conn, conns), scratch: make([]byte, 256<<10),
		rng: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	}
	for i := range lp.conns {
		lp.conns[i].fd = -1
	}
	if lp.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	for i := range lp.conns {
		if err = lp.conns[i].open(lp.epoll, int32(i), peer); err != nil {
			break
		}
		for i-len(lp.spare) > 100 && err == nil { // no more at once than a backlog takes
			err = lp.greet()
		}
	}
	for len(lp.spare) < len(lp.conns) && err == nil {
		err = lp.greet()
	}
	if err != nil {
		lp.free()
		return nil, err
	}
	return lp, nil
}

// greet waits for connections that are being made.
func (lp *loop) greet() error {
	events, err := lp.wait(5 * time.Second)
	if err == nil && len(events) == 0 {
		err = unix.ETIMEDOUT
	}
	for _, e := range events {
		if c := &lp.conns[e.Fd]; c.connecting {
			if err := c.connected(); err != nil {
				return err
			}
			lp.spare = append(lp.spare, e.Fd)
		}
	}
	return err
}

// free closes everything.
func (lp *loop) free() {
	for i := range lp.conns {
		lp.conns[i].close()
	}
	unix.Close(lp.epoll)
}

// run loads the server until the end of the window and, in an open loop, a while longer
// for what is missing.
func (lp *loop) run(start, begin, end time.Time) error {
	// The kernel may otherwise wake a sleeper 50 µs late; 0 is what it was.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return err
	}
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	lp.start, lp.begin, lp.end = start, begin.Sub(start), end.Sub(start)
	last := lp.end
	if lp.load.Rate > 0 {
		lp.gap = float64(time.Second) * float64(lp.load.Threads) / lp.load.Rate
		last += lp.load.Patience
	}
	for {
		now := time.Since(lp.start)
		if now >= last || (now >= lp.end || lp.sentAll()) && lp.idle() {
			break
		}
		until := last
		if lp.gap > 0 {
			until = lp.arrivals(now, last)
		} else {
			lp.saturate(now)
		}
		events, err := lp.wait(until - time.Since(lp.start))
		if err != nil {
			return err
		}
		for _, e := range events {
			lp.event(e.Fd, e.Events)
		}
	}
	lp.giveUp()
	return nil
}

// idle reports whether nothing is under way or waits.
func (lp *loop) idle() bool { return len(lp.spare) == len(lp.conns) && lp.waiting() == 0 }

// sentAll reports whether there is a total and all of it was sent, or is in line.
func (lp *loop) sentAll() bool { return lp.load.Total > 0 && lp.left == 0 }

// waiting is how many arrivals wait.
func (lp *loop) waiting() int { return len(lp.line) - lp.served }

// saturate gives every free connection a request.
func (lp *loop) saturate(now time.Duration) {
	for len(lp.spare) > 0 && !lp.sentAll() {
		lp.left--
		lp.dispatch(now)
	}
}

// arrivals puts the requests that are due in line, serves the line, and returns when to
// look again.
func (lp *loop) arrivals(now, last time.Duration) time.Duration {
	for lp.next <= now && lp.next < lp.end && !lp.sentAll() {
		if lp.load.Line != 0 && lp.waiting()-len(lp.spare) >= max(lp.load.Line, 0) {
			if lp.next >= lp.begin {
				lp.result.Refused++
			}
		} else {
			lp.line = append(lp.line, lp.next)
			lp.left--
		}
		if lp.load.Even {
			lp.next += time.Duration(lp.gap)
		} else {
			lp.next += time.Duration(lp.rng.ExpFloat64() * lp.gap)
		}
	}
	lp.serve()
	if lp.next < lp.end {
		return lp.next
	}
	return last
}

// serve gives those in line the connections that are free.
func (lp *loop) serve() {
	for lp.served < len(lp.line) && len(lp.spare) > 0 {
		lp.served++
		lp.dispatch(lp.line[lp.served-1])
	}
	if lp.served == len(lp.line) {
		lp.line, lp.served = lp.line[:0], 0
	}
}

// dispatch sends a request on a free connection.
func (lp *loop) dispatch(intended time.Duration) {
	i := lp.spare[len(lp.spare)-1]
	lp.spare = lp.spare[:len(lp.spare)-1]
	c := &lp.conns[i]
	if err := c.begin(&lp.source, lp.start, intended); err != nil {
		lp.broken(i, err)
	}
}

// event deals with what happened to a connection.
func (lp *loop) event(i int32, events uint32) {
	c := &lp.conns[i]
	if c.connecting {
		if err := c.connected(); err != nil {
			lp.broken(i, err)
			return
		}
		lp.spare = append(lp.spare, i)
	}
	if len(c.out) > 0 && events&unix.EPOLLOUT != 0 {
		if err := c.flush(); err != nil {
			lp.broken(i, err)
			return
		}
	}
	if events&^unix.EPOLLOUT == 0 || c.fd < 0 {
		return
	}
	done, err := c.receive(lp.scratch, events&^(unix.EPOLLIN|unix.EPOLLOUT) != 0)
	if done {
		lp.answered(c)
	}
	switch {
	case err != nil || c.parser.close && done:
		lp.broken(i, err)
	case done:
		lp.ready(i)
	}
}

// ready puts a connection to use again.
func (lp *loop) ready(i int32) {
	lp.spare = append(lp.spare, i)
	if now := time.Since(lp.start); lp.gap > 0 {
		lp.serve()
	} else if now < lp.end && !lp.sentAll() {
		lp.left--
		lp.dispatch(now)
	}
}

// answered counts a reply. In a closed loop those count that come in the window, in an
// open one those that were to be sent in it.
func (lp *loop) answered(c *conn) {
	c.busy = false
	reply := &c.parser.reply
	if lp.source.Seen != nil {
		lp.source.Seen(c.tag, reply)
	}
	now := time.Since(lp.start)
	if !lp.counts(c, now) {
		return
	}
	if !reply.OK() {
		lp.result.Fail(statusError(reply.Status))
		return
	}
	took := now - c.intended
	lp.result.Done++
	if took <= lp.load.Good {
		lp.result.Good++
	}
	lp.result.Latency.Record(took)
}

func (lp *loop) counts(c *conn, now time.Duration) bool {
	if lp.gap > 0 {
		now = c.intended
	}
	return now >= lp.begin && now < lp.end
}

// broken replaces a connection that is of no more use. A request on it has failed.
func (lp *loop) broken(i int32, err error) {
	c := &lp.conns[i]
	if c.busy && lp.counts(c, time.Since(lp.start)) {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		lp.result.Fail(err)
	}
	for n, f := range lp.spare { // closed while it was idle
		if f == i {
			lp.spare = append(lp.spare[:n], lp.spare[n+1:]...)
			break
		}
	}
	c.close()
	c.out = nil
	if err := c.open(lp.epoll, i, lp.peer); err != nil && lp.result.Err == nil {
		lp.result.Err = err // and one connection less
	}
}

// giveUp counts what was not answered, at the age it has: no less than it would have got.
func (lp *loop) giveUp() {
	if lp.gap == 0 {
		return
	}
	now := time.Since(lp.start)
	missing := lp.line[lp.served:]
	for i := range lp.conns {
		if lp.conns[i].busy {
			missing = append(missing, lp.conns[i].intended)
		}
	}
	for _, intended := range missing {
		if intended >= lp.begin && intended < lp.end {
			lp.result.Unanswered++
			lp.result.Latency.Record(now - intended)
		}
	}
}

// wait waits for events, at most so long.
func (lp *loop) wait(most time.Duration) ([]unix.EpollEvent, error) {
	timeout := unix.NsecToTimespec(int64(max(most, 0)))
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(lp.epoll), uintptr(unsafe.Pointer(&lp.events)),
		uintptr(len(lp.events)), uintptr(unsafe.Pointer(&timeout)), 0, 0)
	switch errno {
	case 0:
		return lp.events[:n], nil
	case unix.EINTR:
		return nil, nil
	}
	return nil, errno
}

// statusError is a reply that is not OK.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("status %d", int(s)) }
