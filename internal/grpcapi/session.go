package grpcapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/grpcapi/form"
)

// session serves a session for as long as its stream lasts.
func (s *Server) session(c *conversation) error {
	if s.o.Sessions == nil {
		return &rollcall.Error{Kind: rollcall.ErrUnsupported, Detail: "this server has no sessions; register with a lease of mode ttl, and renew it"}
	}
	if s.ending() {
		return closing()
	}
	st := &sitting{conversation: c, from: caller(c.ctx).Addr(), opened: make(chan struct{}), silent: make(chan struct{}, 1)}
	c.seldom = true
	c.apart(st.receive)
	return c.leave(st.talk())
}

// sitting is an open session: who receives makes the calls of the core and answers,
// the handler tells what nobody asked for.
type sitting struct {
	*conversation
	from    netip.Addr
	session Session       // who receives sets it before
	opened  chan struct{} // is closed
	silent  chan struct{} // holds a token when nothing was heard for too long

	// Of who receives.
	keys    map[rollcall.Key]struct{} // of the instances that were registered here
	silence *time.Timer
	waits   time.Time // since when nothing was heard
}

// receive opens the session and does what the client says until the stream ends.
func (st *sitting) receive() (err error) {
	if err = st.next(st.open); st.session == nil {
		return err
	}
	over := false // false in the end: a panic
	defer func() {
		if st.silence != nil {
			st.silence.Stop()
		}
		st.part(err, over)
	}()
	for err == nil {
		err = st.next(st.heard)
	}
	over = true
	return err
}

// next waits for the next message and does it. Behind the first one, it is waited
// for as long as the session's TTL.
func (st *sitting) next(do func([]byte) error) error {
	if st.session != nil {
		ttl := st.session.TTL()
		st.waits = time.Now()
		if st.silence == nil {
			st.silence = time.AfterFunc(ttl, st.quiet)
		} else {
			st.silence.Reset(ttl)
		}
	}
	m := &in{most: st.most}
	return st.conversation.receive(m, func() error {
		if st.silence != nil {
			st.silence.Stop()
		}
		return do(m.raw)
	})
}

// quiet says that nothing was heard for too long.
func (st *sitting) quiet() {
	select {
	case st.silent <- struct{}{}:
	default:
	}
}

// open does what the first message says.
func (st *sitting) open(b []byte) error {
	m := new(pb.SessionRequest)
	if err := decoder(m)(b); err != nil {
		return err
	}
	open := m.GetOpen()
	if open == nil {
		return rollcall.Invalid("open", "the first message of a session says open")
	}
	ttl := time.Duration(open.Ttl)
	if ttl != 0 && (ttl < rollcall.MinTTL || ttl > rollcall.MaxTTL) {
		return rollcall.Invalid("ttl", "is a duration from 2s to 24h")
	}
	got, resumed, err := st.s.o.Sessions.OpenSession(st.ctx, open.Token, ttl)
	if err != nil {
		return err
	}
	st.session = got
	defer close(st.opened)
	return st.send(&pb.SessionResponse{Ref: m.Ref, Say: &pb.SessionResponse_Opened{Opened: &pb.SessionOpened{
		Token: got.Token(), Ttl: int64(got.TTL()), Ping: int64(got.Ping()), Resumed: resumed,
	}}})
}

// missedPings is how many pings a client leaves unanswered before its connection may
// break without that saying anything of the client: who is cut off, or was suspended,
// is silent first. The Go client gives its stream up after as many.
const missedPings = 3

// part lets go of the session, for the reason that its stream ended for. A server
// that stops is no evidence against anybody.
func (st *sitting) part(err error, over bool) {
	if errors.Is(err, errGoodbye) || errors.Is(err, errTaken) || st.s.ending() {
		return
	}
	why := ""
	wrong, misunderstood := errors.AsType[*rollcall.Error](err)
	switch {
	case !over:
		why = "the server failed"
	case errors.Is(err, errSilent), errors.Is(err, errUntaken):
		st.session.Leave() // this process may have been stopped, and heard nobody
		return
	case !misunderstood && !errors.Is(err, io.EOF) && time.Since(st.waits) > missedPings*st.session.Ping():
		st.session.Leave() // as it does when gRPC finds nobody at the other end
		return
	case errors.Is(err, io.EOF):
		why = "the stream ended without a goodbye"
	case misunderstood:
		why = "a message was not understood: " + wrong.Kind.Error()
	default:
		why = broken(err)
	}
	st.session.Break(why)
	st.s.o.Logger.Debug("a session's stream ended", "why", why)
}

// heard does what a message says. An error ends the stream.
func (st *sitting) heard(b []byte) error {
	if ref, instance, ok := form.Registration(b); ok {
		st.session.Alive()
		return st.register(ref, instance)
	}
	m := new(pb.SessionRequest)
	if err := decoder(m)(b); err != nil {
		return err
	}
	st.session.Alive()
	switch say := m.Say.(type) {
	case *pb.SessionRequest_Open:
		return st.refuse(m.Ref, rollcall.Key{}, rollcall.Invalid("open", "is said by the first message of a stream, and by no other"))
	case *pb.SessionRequest_Register:
		i, wrong := say.Register.Domain()
		return st.enter(m.Ref, &i, wrong)
	case *pb.SessionRequest_Report:
		return st.report(m.Ref, say.Report)
	case *pb.SessionRequest_Goodbye:
		return st.goodbye(m.Ref, say.Goodbye)
	}
	return nil
}

func (st *sitting) register(ref uint64, instance []byte) (err error) {
	wrong := form.Instance(instance, func(i *rollcall.Instance, wrong error) { err = st.enter(ref, i, wrong) })
	if wrong != nil {
		return undecodable("SessionRequest", wrong)
	}
	return err
}

// enter registers an instance, unless it is wrong.
func (st *sitting) enter(ref uint64, i *rollcall.Instance, wrong error) error {
	key := i.Key()
	if wrong != nil {
		return st.refuse(ref, key, wrong)
	}
	settle(i, st.from)
	if _, known := st.keys[key]; !known && len(st.keys) >= st.s.o.MaxSession {
		return st.refuse(ref, key, &rollcall.Error{
			Kind: rollcall.ErrTooMany, Field: "register",
			Detail: fmt.Sprintf("a session has room for %d instances; register more in another one", st.s.o.MaxSession),
		})
	}
	// The rest of the message must not stay as long as they do.
	i.Service, i.ID, i.Namespace = strings.Clone(i.Service), strings.Clone(i.ID), strings.Clone(i.Namespace)
	is, created, err := st.session.Register(st.ctx, *i, 0)
	if err != nil {
		return st.refuse(ref, key, err)
	}
	if st.keys == nil {
		st.keys = map[rollcall.Key]struct{}{}
	}
	if i.ID == "" {
		i.ID = strings.Clone(is.ID)
	}
	st.keys[i.Key()] = struct{}{} // and not that of is, whose id may be a part of more
	return st.send(encoded(appendRegistered(appendInt(nil, 1, ref), 3, &is, created)))
}

func (st *sitting) report(ref uint64, m *pb.Renewal) error {
	key := rollcall.NewKey(m.GetNamespace(), m.GetService(), m.GetId())
	r, err := m.GetReport().Domain()
	if err != nil {
		return st.refuse(ref, key, err)
	}
	got, err := st.session.Report(st.ctx, key, &r)
	if err != nil {
		return st.refuse(ref, key, err)
	}
	return st.send(&pb.SessionResponse{Ref: ref, Say: &pb.SessionResponse_Renewed{Renewed: &pb.Renewed{Ttl: int64(got.TTL), Revision: uint64(got.Revision)}}})
}

func (st *sitting) goodbye(ref uint64, m *pb.Goodbye) error {
	var keys []rollcall.Key
	if m.GetKey() != nil {
		keys = append(keys, m.Key.Domain())
	}
	if err := st.session.Goodbye(st.ctx, keys...); err != nil {
		return st.refuse(ref, m.GetKey().Domain(), err)
	}
	for _, key := range keys {
		delete(st.keys, key)
	}
	err := st.send(&pb.SessionResponse{Ref: ref, Say: &pb.SessionResponse_Gone{Gone: &pb.Gone{}}})
	if keys == nil {
		return errGoodbye // which counts also if its answer cannot be sent
	}
	return err
}

// refuse answers a message that could not be done.
func (st *sitting) refuse(ref uint64, key rollcall.Key, err error) error {
	return st.send(&pb.SessionResponse{Ref: ref, Say: &pb.SessionResponse_Error{Error: st.s.detail("a message of a session", key, err)}})
}

// talk tells what nobody asked for, until the conversation is over, and returns
// why it is.
func (st *sitting) talk() error {
	late := time.NewTimer(st.s.o.OpenTimeout)
	defer late.Stop()
	select {
	case <-st.opened:
	case <-st.ctx.Done():
		return context.Cause(st.ctx)
	case <-st.s.stopping.Done():
		return closing()
	case <-late.C:
		return &rollcall.Error{Kind: rollcall.ErrTimeout, Detail: fmt.Sprintf("a session begins with a message, and none came within %v", st.s.o.OpenTimeout)}
	}
	interval := st.session.Ping()
	late.Reset(interval)
	lost := st.session.Lost()
	for {
		var err error
		select {
		case <-st.ctx.Done():
			return context.Cause(st.ctx)
		case <-st.s.stopping.Done():
			return st.close()
		case <-st.session.Ended():
			return errTaken
		case <-st.silent:
			return errSilent
		case key, ok := <-lost:
			if !ok {
				lost = nil
				continue
			}
			err = st.send(&pb.SessionResponse{Say: &pb.SessionResponse_Lost{Lost: pb.FromKey(key)}})
		case <-late.C:
			var silent time.Duration
			silent, err = st.ping(interval)
			late.Reset(interval - silent)
		}
		if err != nil {
			return err
		}
	}
}

// partingTime is for how long a server that stops waits for each client to take
// what it is sent.
const partingTime = time.Second

// close tells the client that the server stops.
func (st *sitting) close() error {
	parting := time.AfterFunc(partingTime, func() { st.cut(errUntaken) }) // for one who does not read
	defer parting.Stop()
	st.send(&pb.SessionResponse{Say: &pb.SessionResponse_Closing{Closing: &pb.Closing{}}})
	return closing()
}

// ping sends a sign of life if there was none for the interval, and returns how
// long there has been none.
func (st *sitting) ping(interval time.Duration) (time.Duration, error) {
	st.turn <- struct{}{}
	silent := time.Since(st.sent)
	<-st.turn
	if silent < interval {
		return silent, nil
	}
	return 0, st.send(&pb.SessionResponse{Say: &pb.SessionResponse_Ping{Ping: &pb.Ping{}}})
}
