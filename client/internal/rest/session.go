package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/line"
	"github.com/rollcall-registry/rollcall/client/internal/problem"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// nudge is how often something is sent on a stream that has not been answered
// yet. That its connection broke shows in that alone: whoever sends a request
// waits for its body, and this one ends with the stream.
const nudge = 200 * time.Millisecond

// link is one stream of a session, from when it is opened until it breaks.
type link struct {
	c      *Client
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer   // ends the stream when nothing is heard for silence
	out    chan []byte   // lines to be sent
	begun  chan struct{} // closed once it is answered
	rest   []byte        // of the line that is being sent
	in     *bufio.Reader // of body
	body   io.ReadCloser

	silence time.Duration
	opened  wire.Opened
	server  int // its index
	answers wire.Answers[line.Received]

	mu      sync.Mutex // guards failure
	failure error      // why the stream has ended
}

// Open implements [wire.Protocol].
func (c *Client) Open(ctx context.Context, token string, ttl time.Duration) (wire.Session, wire.Opened, error) {
	var l *link
	err := c.turn.AskAll(ctx, func(i int) (err error) {
		l, err = c.openAt(ctx, i, token, ttl)
		return err
	})
	if err != nil {
		return nil, wire.Opened{}, err
	}
	return l, l.opened, nil
}

func (c *Client) openAt(ctx context.Context, server int, token string, ttl time.Duration) (*link, error) {
	l := c.newLink(ctx, server)
	hello := pong // any line opens a session
	if token != "" {
		hello, _ = line.Sent{Type: "resume", Token: token}.Encode() // of text alone
	}
	l.out <- hello
	k := Call{Method: http.MethodPost, Path: "session", Header: http.Header{
		"Accept": {"application/x-ndjson"}, "Accept-Encoding": {"identity"}, "Content-Type": {"application/x-ndjson"},
	}}
	if ttl > 0 {
		k.Query = url.Values{"ttl": {ttl.String()}}
	}
	resp, err := c.sendTo(l.ctx, c.Servers[server], k, l)
	if err == nil {
		err = l.begin(resp)
	}
	if err != nil {
		l.Close(err)
		return nil, wire.WithoutSessions(c.Servers[server].Name, err)
	}
	return l, nil
}

// pong is a line that only says that somebody is there. Nobody writes to it.
var pong = []byte("{\"type\":\"pong\"}\n")

// wrong returns the error that a line tells of.
func wrong(r line.Received) error {
	if r.Type != "error" {
		return nil
	}
	return problem.Problem{Type: r.Problem, Title: r.Title, Status: r.Status, Detail: r.Detail, Field: r.Field}.Err()
}

// newLink returns a stream that has yet to be opened, for which there is as much
// time as for a call.
func (c *Client) newLink(ctx context.Context, server int) *link {
	l := &link{c: c, server: server, out: make(chan []byte, 16), begun: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.timer = time.AfterFunc(c.Timeout, func() {
		c.turn.Leave(server)
		l.cancel(retry.ErrSilent)
	})
	return l
}

// begin takes the answer of the server, which begins with what session it is.
func (l *link) begin(resp *http.Response) error {
	close(l.begun)
	l.body = resp.Body
	l.in = bufio.NewReader(resp.Body)
	first, err := l.read()
	if err != nil {
		return err
	}
	if first.Type != "session" || first.Ping <= 0 {
		return wire.Broken(fmt.Errorf("it begins with a line of type %q", first.Type))
	}
	l.opened, l.silence = wire.Opened{Token: first.Token, Resumed: first.Resumed}, 3*time.Duration(first.Ping)
	l.timer.Reset(l.silence)
	return nil
}

// Close implements [wire.Session].
func (l *link) Close(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure == nil {
		l.failure = wire.Broken(why)
	}
	l.timer.Stop()
	l.cancel(l.failure)
	if l.body != nil {
		l.body.Close()
	}
}

// Read makes the lines that are sent the body of a request.
func (l *link) Read(b []byte) (int, error) {
	if len(l.rest) == 0 {
		var unanswered <-chan time.Time
		select {
		case <-l.begun:
		default:
			unanswered = time.After(nudge)
		}
		select {
		case l.rest = <-l.out:
		case <-unanswered:
			l.rest = pong
		case <-l.ctx.Done():
			return 0, context.Cause(l.ctx)
		}
	}
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// read reads a line.
func (l *link) read() (r line.Received, err error) {
	for {
		text, err := l.in.ReadBytes('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the server ended it")
			}
			if cause := context.Cause(l.ctx); cause != nil {
				err = cause
			}
			return r, err
		}
		if l.silence > 0 {
			l.timer.Reset(l.silence)
		}
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		if err := json.Unmarshal(text, &r); err != nil {
			return r, fmt.Errorf("a line of the server could not be read: %w", err)
		}
		return r, nil
	}
}

// Lost implements [wire.Session].
func (l *link) Lost() (rollcall.Key, error) {
	for {
		r, err := l.read()
		switch {
		case err != nil:
			if errors.Is(err, retry.ErrSilent) {
				l.c.turn.Leave(l.server)
			}
			return rollcall.Key{}, err
		case r.Type == "ping":
			select {
			case l.out <- pong:
			default: // other lines wait to be sent, and will do
			}
		case r.Type == "lost":
			return rollcall.NewKey(r.Namespace, r.Service, r.ID), nil
		case r.Type == "closing":
			l.c.turn.Leave(l.server)
			return rollcall.Key{}, wire.ErrClosing
		case r.Ref != "":
			ref, _ := strconv.ParseUint(r.Ref, 10, 64) // 0, which nobody asked under, if it is none of ours
			l.answers.Answer(ref, r)
		}
	}
}

// Register implements [wire.Session].
func (l *link) Register(ctx context.Context, inst *rollcall.Instance) (rollcall.Instance, error) {
	got, err := l.ask(ctx, line.Sent{Type: "register", Instance: inst})
	switch {
	case err != nil:
		return rollcall.Instance{}, err
	case got.Instance == nil:
		return rollcall.Instance{}, errors.New("the server did not say what it registered")
	}
	return *got.Instance, nil
}

// Report implements [wire.Session].
func (l *link) Report(ctx context.Context, key rollcall.Key, r *rollcall.Report) (rollcall.Renewal, error) {
	got, err := l.ask(ctx, line.Sent{Type: "report", Name: line.Of(key), Report: r})
	return rollcall.Renewal{TTL: got.TTL, Revision: got.Revision}, err
}

// Goodbye implements [wire.Session].
func (l *link) Goodbye(ctx context.Context, key rollcall.Key) error {
	_, err := l.ask(ctx, line.Sent{Type: "goodbye", Name: line.Of(key)})
	return err
}

// ask sends a line and returns its answer.
func (l *link) ask(ctx context.Context, ask line.Sent) (line.Received, error) {
	ref, answer := l.answers.Ask()
	defer l.answers.Drop(ref)
	ask.Ref = strconv.FormatUint(ref, 10)
	text, err := ask.Encode()
	if err != nil {
		return line.Received{}, err
	}
	select {
	case l.out <- text:
	case <-l.ctx.Done():
		return line.Received{}, l.why()
	case <-ctx.Done():
		return line.Received{}, ctx.Err()
	}
	select {
	case r := <-answer:
		return r, wrong(r)
	case <-l.ctx.Done():
		return line.Received{}, l.why()
	case <-ctx.Done():
		return line.Received{}, ctx.Err()
	}
}

// why returns why the stream has ended.
func (l *link) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure != nil {
		return l.failure
	}
	return wire.Broken(context.Cause(l.ctx))
}
