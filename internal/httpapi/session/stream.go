package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
)

// stream is an open session.
type stream struct {
	d     *Door
	ctx   context.Context
	c     Conn
	s     Session
	in    lines
	place func(*rollcall.Instance)
	keys  map[rollcall.Key]struct{} // of the instances that were registered here
	ended chan struct{}             // closed when nothing is read any more
	out   *[]byte                   // answers that are not written yet; nil: none
	soft  *reports                  // nil: none came
	last  time.Time                 // when the last line came that was waited for

	// turn is held by who writes, which may take long, and guards sent: when
	// something was written last. No other lock is held meanwhile.
	turn chan struct{}
	sent time.Time

	mu  sync.Mutex // guards what follows
	cut error      // why nothing is to be read any more
}

// How a stream ends that does not break.
var (
	errGoodbye = errors.New("goodbye")
	errClosing = errors.New("the server stops")
	errTaken   = errors.New("another stream took the session up")
)

// notJSON is a line that ends the stream, because where the next one begins is
// anybody's guess.
type notJSON struct{ error }

// untaken is an error in writing.
type untaken struct{ error }

func (u untaken) Unwrap() error { return u.error }

// unheard is how many pings go unanswered before that a connection breaks says no
// more than that nobody is heard.
const unheard = 3

// partingTime is for how long a server that stops waits for each client to take
// what it is sent.
const partingTime = time.Second

// serve tells the client what session it has, then reads until the stream ends.
// first is a line that was read already, nil if there is none.
func (st *stream) serve(first []byte, resumed bool) {
	st.last = time.Now()
	var err error // nil in the end: a panic
	var told sync.WaitGroup
	defer func() {
		close(st.ended)
		st.part(err)
		told.Wait()
	}()
	if err = st.write(appendSession(nil, st.s, resumed)); err != nil {
		return
	}
	told.Go(st.tell)
	if first != nil {
		err = st.heard(first, true)
	}
	for err == nil {
		var line []byte
		anew := !st.in.ready()
		if line, err = st.next(anew); err == nil {
			err = st.heard(line, anew)
		}
	}
}

// part lets go of the session, for the reason that its stream ended for.
func (st *stream) part(err error) {
	defer st.flush()
	if errors.Is(err, errGoodbye) || errors.Is(err, errTaken) || st.d.ending() {
		return
	}
	why := broken(err, st.s.TTL())
	wrong, answered := errors.AsType[notJSON](err)
	if answered {
		why = "a line was not JSON"
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || !answered && time.Since(st.last) > unheard*st.s.Ping() {
		st.s.Leave() // the network may be cut, or this process was stopped, and heard nobody
	} else {
		st.s.Break(why)
	}
	st.d.o.Logger.Debug("a session's stream ended", "why", why)
	if answered {
		st.refuse(&form.Line{}, wrong.error)
	}
	st.flush()
	st.c.SetWriteDeadline(time.Now()) // for a write that waits
}

// next returns the next line. If it is not there yet, answers are written first,
// and then the client has the session's TTL for it.
func (st *stream) next(anew bool) ([]byte, error) {
	if anew {
		if err := st.flush(); err != nil {
			return nil, err
		}
	}
	if err := st.await(anew); err != nil {
		return nil, err
	}
	line, err := st.in.next()
	if err == nil {
		return line, nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.cut != nil:
		return nil, st.cut
	case errors.Is(err, errLong):
		return nil, notJSON{&rollcall.Error{Kind: rollcall.ErrTooLarge, Detail: fmt.Sprintf("a line is longer than %d bytes", st.d.o.MaxLine)}}
	}
	return nil, err
}

// await sets the deadline of the next line if it is waited for. An error says that
// there is to be none.
func (st *stream) await(anew bool) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.cut == nil && anew {
		st.c.SetReadDeadline(time.Now().Add(st.s.TTL()))
	}
	return st.cut
}

// stop ends reading, for a reason.
func (st *stream) stop(why error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.cut == nil {
		st.cut = why
	}
	st.c.SetReadDeadline(time.Now())
}

// heard does what a line says, which was waited for or came with the one before.
// An error ends the stream.
func (st *stream) heard(line []byte, anew bool) error {
	if anew {
		st.last = time.Now()
	}
	if st.soft.line(line) {
		if anew {
			st.s.Alive()
		}
		return st.reported()
	}
	st.s.Alive()
	if quiet(line) {
		return nil
	}
	dec := st.d.decoders.Get().(*form.Decoder)
	defer st.d.done(dec)
	var l form.Line
	err := decode(dec, line, &l)
	switch {
	case err != nil && dec.Broken():
		return notJSON{err}
	case err != nil:
		return st.refuse(&l, err)
	}
	switch l.Type {
	case form.LineResume:
		return st.refuse(&l, rollcall.Invalid("type", "resume is the first line of a stream, or none"))
	case form.LineRegister:
		return st.register(&l)
	case form.LineReport:
		return st.report(&l)
	case form.LineGoodbye:
		return st.goodbye(&l)
	}
	return nil
}

func (st *stream) register(l *form.Line) error {
	i := l.Instance
	l.Key = i.Key()
	st.place(&i)
	if _, known := st.keys[l.Key]; !known && len(st.keys) >= st.d.o.MaxInstances {
		return st.refuse(l, &rollcall.Error{
			Kind: rollcall.ErrTooMany, Field: "instance",
			Detail: fmt.Sprintf("a session has room for %d instances; register more in another one", st.d.o.MaxInstances),
		})
	}
	is, created, err := st.s.Register(st.ctx, i, 0)
	if err != nil {
		return st.refuse(l, err)
	}
	if st.keys == nil {
		st.keys = map[rollcall.Key]struct{}{}
	}
	st.keys[is.Key()] = struct{}{}
	if err := st.answer(func(b []byte) []byte { return appendRegistered(b, l.Ref, &is, created) }); err != nil {
		return err
	}
	return st.flush() // the next one may take its time
}

func (st *stream) report(l *form.Line) error {
	if st.soft == nil {
		st.soft = &reports{keys: map[string]rollcall.Key{}}
	}
	got, err := st.s.Report(st.ctx, l.Key, &l.Report)
	if err != nil {
		return st.refuse(l, err)
	}
	return st.answer(func(b []byte) []byte { return appendRenewed(b, l.Ref, l.Key, got.TTL.String(), got.Revision) })
}

func (st *stream) goodbye(l *form.Line) error {
	var keys []rollcall.Key
	if l.Key != (rollcall.Key{}) {
		keys = append(keys, l.Key)
	}
	if err := st.s.Goodbye(st.ctx, keys...); err != nil {
		return st.refuse(l, err)
	}
	delete(st.keys, l.Key)
	err := st.answer(func(b []byte) []byte { return appendGone(b, l.Ref, l.Key) })
	if keys == nil {
		return errGoodbye // which counts also if its answer cannot be written
	}
	return err
}

// tell tells what nobody asked for, until nothing is read any more.
func (st *stream) tell() {
	interval := st.s.Ping()
	next := time.NewTimer(interval)
	defer next.Stop()
	lost := st.s.Lost()
	for {
		var err error
		select {
		case <-st.ended:
			return
		case <-st.d.closing:
			st.c.SetWriteDeadline(time.Now().Add(partingTime)) // for a write that waits
			st.write(closing)
			st.stop(errClosing)
			return
		case <-st.s.Ended():
			st.stop(errTaken)
			return
		case key, ok := <-lost:
			if !ok {
				lost = nil
				continue
			}
			err = st.say(func(b []byte) []byte { return appendLost(b, key) })
		case <-next.C:
			var silent time.Duration
			silent, err = st.ping(interval)
			next.Reset(interval - silent)
		}
		if err != nil {
			st.stop(err)
			return
		}
	}
}

// ping sends a sign of life if there was none for the interval, and returns how
// long there has been none.
func (st *stream) ping(interval time.Duration) (time.Duration, error) {
	st.turn <- struct{}{}
	silent := time.Since(st.sent)
	<-st.turn
	if silent < interval {
		return silent, nil
	}
	return 0, st.write(ping)
}

// mostAnswers is how many bytes of answers wait for each other at most.
const mostAnswers = 16 << 10

// answer adds a line to the answers, which are written together when no further
// line is there to be answered. Only who reads may call it.
func (st *stream) answer(line func([]byte) []byte) error {
	if st.out == nil {
		st.out = st.d.buffers.Get().(*[]byte)
		*st.out = (*st.out)[:0]
	}
	*st.out = line(*st.out)
	if len(*st.out) < mostAnswers {
		return nil
	}
	return st.flush()
}

// flush writes the answers that wait.
func (st *stream) flush() error {
	b := st.out
	if b == nil {
		return nil
	}
	st.out = nil
	err := st.write(*b)
	if cap(*b) <= 2*mostAnswers {
		st.d.buffers.Put(b)
	}
	return err
}

// say writes a line, whatever waits.
func (st *stream) say(line func([]byte) []byte) error {
	b := st.d.buffers.Get().(*[]byte)
	defer st.d.buffers.Put(b)
	*b = line((*b)[:0])
	return st.write(*b)
}

// write writes against a deadline: a client that does not read is dropped.
func (st *stream) write(b []byte) error {
	st.turn <- struct{}{}
	defer func() { <-st.turn }()
	timeout := st.d.o.WriteTimeout
	if st.d.ending() {
		timeout = min(timeout, partingTime)
	}
	st.sent = time.Now()
	st.c.SetWriteDeadline(st.sent.Add(timeout))
	if _, err := st.c.Write(b); err != nil {
		return untaken{err}
	}
	return nil
}
