package dns

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rollcall-registry/rollcall/bench/load"
)

// loop is the thread: its sockets, and the arrivals that wait for a place on one of them.
// Times are since the start of the load.
type loop struct {
	load    *Load
	epoll   int
	sockets []socket
	batch   *Batch
	events  [64]unix.EpollEvent

	start      time.Time
	begin, end time.Duration   // the window
	gap        float64         // mean distance of arrivals; 0: closed loop
	next       time.Duration   // the next arrival
	line       []time.Duration // arrivals that wait
	turn       int             // the socket that is tried next
	flying     int
	swept      time.Duration // when lost queries were last looked for
	result     load.Result
}

// answersAtOnce is how many answers are taken with one call, and answerBytes how long one
// may be.
const answersAtOnce, answerBytes = 64, 4 << 10

func newLoop(l *Load, peer unix.Sockaddr) (lp *loop, err error) {
	lp = &loop{load: l, sockets: make([]socket, l.Sockets), batch: NewBatch(answersAtOnce, answerBytes, false)}
	for i := range lp.sockets {
		lp.sockets[i].fd = -1
	}
	if lp.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	for i := range lp.sockets {
		s := &lp.sockets[i]
		if err = s.open(peer, l.Flight, l.Query.template.Len()); err == nil {
			err = unix.EpollCtl(lp.epoll, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
		}
		if err != nil {
			lp.free()
			return nil, err
		}
	}
	return lp, nil
}

func (lp *loop) free() {
	for _, s := range lp.sockets {
		if s.fd >= 0 {
			unix.Close(s.fd)
		}
	}
	unix.Close(lp.epoll)
}

// sweeps is how often lost queries are looked for.
const sweeps = 20 * time.Millisecond

// run loads the server until the end of the window and, in an open loop, a while longer for
// what is missing.
func (lp *loop) run(start time.Time, w load.Window) error {
	// The kernel may otherwise wake a sleeper 50 µs late; 0 is what it was.
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
		return err
	}
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	lp.start, lp.begin, lp.end = start, w.Ramp, w.Ramp+w.Length
	if lp.load.Rate > 0 {
		lp.gap = float64(time.Second) / lp.load.Rate
	} else {
		for i := range lp.sockets {
			lp.fill(&lp.sockets[i], 0)
		}
	}
	for {
		now := time.Since(lp.start)
		if now >= lp.end && (lp.gap == 0 || lp.flying+len(lp.line) == 0) {
			return nil
		}
		until := now + sweeps
		if lp.gap > 0 {
			lp.arrivals(now)
			if lp.next < lp.end {
				until = min(until, lp.next)
			}
		}
		if err := lp.flush(); err != nil {
			return err
		}
		events, err := lp.wait(until - time.Since(lp.start))
		if err != nil {
			return err
		}
		for _, e := range events {
			if err := lp.receive(&lp.sockets[e.Fd]); err != nil {
				return err
			}
		}
		lp.sweep(time.Since(lp.start))
	}
}

// fill puts as many queries under way as a socket takes.
func (lp *loop) fill(s *socket, now time.Duration) {
	for q := s.take(now); q != nil; q = s.take(now) {
		lp.ask(s, q)
	}
}

// ask makes a query, to be sent at the next flush.
func (lp *loop) ask(s *socket, q *query) {
	q.text = lp.load.Query.Append(q.text[:0], q.id, lp.load.Next())
	if lp.load.Mixed {
		lp.load.Query.mix(q.text)
	}
	s.out = append(s.out, q.text...)
	lp.flying++
}

// arrivals asks what is due, as far as there are places.
func (lp *loop) arrivals(now time.Duration) {
	for lp.next <= now && lp.next < lp.end {
		lp.line = append(lp.line, lp.next)
		lp.next += time.Duration(rand.ExpFloat64() * lp.gap)
	}
	served := 0
	for full := 0; served < len(lp.line) && full < len(lp.sockets); {
		s := &lp.sockets[lp.turn]
		lp.turn = (lp.turn + 1) % len(lp.sockets)
		if q := s.take(lp.line[served]); q != nil {
			lp.ask(s, q)
			served, full = served+1, 0
		} else {
			full++
		}
	}
	lp.line = lp.line[:copy(lp.line, lp.line[served:])]
}

func (lp *loop) flush() error {
	for i := range lp.sockets {
		if err := lp.sockets[i].flush(); err != nil {
			return err
		}
	}
	return nil
}

// receive takes the answers of a socket and, in a closed loop, asks as much again.
func (lp *loop) receive(s *socket) error {
	n, err := lp.batch.Receive(s.fd)
	if err == unix.EAGAIN {
		return nil
	}
	if err != nil {
		return err
	}
	now := time.Since(lp.start)
	for i := range n {
		lp.answered(s, lp.batch.At(i), now)
	}
	if lp.gap > 0 || now >= lp.end {
		return nil
	}
	lp.fill(s, now)
	return s.flush()
}

// answered counts an answer. One to no query under way comes late, and is not looked at.
func (lp *loop) answered(s *socket, answer []byte, now time.Duration) {
	if len(answer) < header {
		return
	}
	q := s.under(binary.BigEndian.Uint16(answer))
	if q == nil {
		return
	}
	lp.flying--
	s.done(q)
	if !lp.counts(q, now) {
		return
	}
	if err := lp.load.Query.check(q.text, answer, lp.load.Records); err != nil {
		lp.result.Fail(err)
		return
	}
	lp.result.Done++
	lp.result.Latency.Record(now - q.due)
}

func (lp *loop) counts(q *query, now time.Duration) bool {
	if lp.gap > 0 {
		now = q.due
	}
	return now >= lp.begin && now < lp.end
}

// sweep gives up what was lost, at the age it has, and in a closed loop asks anew.
func (lp *loop) sweep(now time.Duration) {
	if now-lp.swept < sweeps {
		return
	}
	lp.swept = now
	for i := range lp.sockets {
		s := &lp.sockets[i]
		for j := range s.queries {
			q := &s.queries[j]
			if !q.busy || now-q.due < lp.load.Lost {
				continue
			}
			lp.flying--
			s.done(q)
			if lp.counts(q, now) {
				lp.result.Unanswered++
				lp.result.Latency.Record(now - q.due)
			}
		}
		if lp.gap == 0 && now < lp.end {
			lp.fill(s, now)
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
