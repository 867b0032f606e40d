package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// session is the stream of a session.
type session struct {
	*stream[rollcallpb.SessionRequest, rollcallpb.SessionResponse]
	out     chan *rollcallpb.SessionRequest
	silence time.Duration
	opened  wire.Opened
	answers wire.Answers[*rollcallpb.SessionResponse]

	mu      sync.Mutex // guards failure
	failure error      // why the stream has ended
}

// Open implements [wire.Protocol].
func (c *Client) Open(ctx context.Context, token string, ttl time.Duration) (wire.Session, wire.Opened, error) {
	var s *session
	err := c.turn.AskAll(ctx, func(i int) (err error) {
		s, err = c.openAt(ctx, i, &rollcallpb.OpenSession{Token: token, Ttl: int64(ttl)})
		return err
	})
	if err != nil {
		return nil, wire.Opened{}, err
	}
	return s, s.opened, nil
}

func (c *Client) openAt(ctx context.Context, server int, hello *rollcallpb.OpenSession) (*session, error) {
	of, err := openStream(ctx, c, server, rollcallpb.RegistryClient.Session)
	if err == nil {
		s := &session{stream: of, out: make(chan *rollcallpb.SessionRequest, 16)}
		if err = s.begin(hello); err == nil {
			if err = c.task(s.write); err == nil {
				return s, nil
			}
		}
		s.Close(err)
	}
	return nil, wire.WithoutSessions(c.servers[server].Name, err)
}

// begin says hello and hears what session it is.
func (s *session) begin(hello *rollcallpb.OpenSession) error {
	// What goes wrong here shows in what is read.
	s.Send(&rollcallpb.SessionRequest{Say: &rollcallpb.SessionRequest_Open{Open: hello}})
	m, err := s.Recv()
	if err != nil {
		return s.failed(err)
	}
	if e := m.GetError(); e != nil {
		return e.Domain()
	}
	o := m.GetOpened()
	if o == nil || o.GetPing() <= 0 || o.GetPing() > int64(time.Hour) {
		return wire.Broken(fmt.Errorf("it begins with a message of type %T", m.GetSay()))
	}
	s.opened, s.silence = wire.Opened{Token: o.GetToken(), Resumed: o.GetResumed()}, 3*time.Duration(o.GetPing())
	s.heard(s.silence)
	return nil
}

// write writes until the stream ends.
func (s *session) write() {
	for {
		select {
		case m := <-s.out:
			if s.Send(m) != nil {
				return // the reader hears why
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// Close implements [wire.Session].
func (s *session) Close(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.failure = wire.Broken(why)
	}
	s.end(s.failure)
}

// Lost implements [wire.Session].
func (s *session) Lost() (rollcall.Key, error) {
	for {
		m, err := s.Recv()
		if err != nil {
			return rollcall.Key{}, s.failed(err)
		}
		s.heard(s.silence)
		if key, err := s.take(m); err != nil || key != (rollcall.Key{}) {
			return key, err
		}
	}
}

// take does what a message says, and returns what was lost if it says that.
func (s *session) take(m *rollcallpb.SessionResponse) (lost rollcall.Key, err error) {
	switch say := m.GetSay().(type) {
	case *rollcallpb.SessionResponse_Ping:
		select {
		case s.out <- &rollcallpb.SessionRequest{Say: &rollcallpb.SessionRequest_Pong{Pong: new(rollcallpb.Pong)}}:
		default: // other messages wait to be written, and will do
		}
	case *rollcallpb.SessionResponse_Lost:
		return say.Lost.Domain(), nil
	case *rollcallpb.SessionResponse_Closing:
		s.c.turn.Leave(s.server)
		return lost, wire.ErrClosing
	default:
		s.answers.Answer(m.GetRef(), m)
	}
	return lost, nil
}

// Register implements [wire.Session].
func (s *session) Register(ctx context.Context, inst *rollcall.Instance) (rollcall.Instance, error) {
	m, err := s.ask(ctx, &rollcallpb.SessionRequest{Say: &rollcallpb.SessionRequest_Register{Register: rollcallpb.FromInstance(inst)}})
	if err != nil {
		return rollcall.Instance{}, err
	}
	return registered(m.GetRegistered())
}

// Report implements [wire.Session].
func (s *session) Report(ctx context.Context, key rollcall.Key, r *rollcall.Report) (got rollcall.Renewal, err error) {
	m, err := s.ask(ctx, &rollcallpb.SessionRequest{Say: &rollcallpb.SessionRequest_Report{Report: &rollcallpb.Renewal{
		Service: key.Service, Id: key.ID, Namespace: key.Namespace, Report: rollcallpb.FromReport(r),
	}}})
	if err != nil {
		return got, err
	}
	a := m.GetRenewed()
	return rollcall.Renewal{TTL: rollcall.Duration(a.GetTtl()), Revision: rollcall.Revision(a.GetRevision())}, nil
}

// Goodbye implements [wire.Session].
func (s *session) Goodbye(ctx context.Context, key rollcall.Key) error {
	bye := new(rollcallpb.Goodbye)
	if key != (rollcall.Key{}) {
		bye.Key = rollcallpb.FromKey(key)
	}
	_, err := s.ask(ctx, &rollcallpb.SessionRequest{Say: &rollcallpb.SessionRequest_Goodbye{Goodbye: bye}})
	return err
}

// ask sends a message and returns its answer.
func (s *session) ask(ctx context.Context, m *rollcallpb.SessionRequest) (*rollcallpb.SessionResponse, error) {
	ref, answer := s.answers.Ask()
	defer s.answers.Drop(ref)
	m.Ref = ref
	select {
	case s.out <- m:
	case <-s.ctx.Done():
		return nil, s.why()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case m := <-answer:
		if e := m.GetError(); e != nil {
			return nil, e.Domain()
		}
		return m, nil
	case <-s.ctx.Done():
		return nil, s.why()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// why returns why the stream has ended.
func (s *session) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return s.failure
	}
	why := context.Cause(s.ctx)
	if why == nil {
		why = errors.New("it ended")
	}
	return wire.Broken(why)
}
