package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/line"
	"github.com/rollcall-registry/rollcall/client/internal/problem"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
)

// nudge is how often something is sent on a stream that has not been answered
// yet. That its connection broke shows in that alone: whoever sends a request
// waits for its body, and this one ends with the stream.
const nudge = 200 * time.Millisecond

// link is one stream of a session, from when it is opened until it breaks.
type link struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer   // ends the stream when nothing is heard for silence
	out    chan []byte   // lines to be sent
	begun  chan struct{} // closed once it is answered
	rest   []byte        // of the line that is being sent
	in     *bufio.Reader // of body
	body   io.ReadCloser

	silence time.Duration
	token   string
	resumed bool
	server  int // its index

	mu      sync.Mutex // guards what follows
	asked   map[string]chan line.Received
	refs    int
	failure error // why the stream has ended
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

// newLink returns a stream that has yet to be opened, for which there is some
// time.
func newLink(ctx context.Context, within time.Duration) *link {
	l := &link{out: make(chan []byte, 16), begun: make(chan struct{}), asked: map[string]chan line.Received{}}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.timer = time.AfterFunc(within, func() { l.cancel(retry.ErrSilent) })
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
		return errBroken(fmt.Errorf("it begins with a line of type %q", first.Type))
	}
	l.token, l.resumed, l.silence = first.Token, first.Resumed, 3*time.Duration(first.Ping)
	l.timer.Reset(l.silence)
	return nil
}

// close ends the stream, and what waits for answers on it.
func (l *link) close(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure == nil {
		l.failure = errBroken(why)
	}
	clear(l.asked)
	l.timer.Stop()
	l.cancel(l.failure)
	if l.body != nil {
		l.body.Close()
	}
}

// errBroken is what is said of a stream that ended.
func errBroken(why error) error {
	if why == nil {
		why = errors.New("it ended")
	}
	return &rollcall.Error{Kind: ErrUnreachable, Detail: "the session's stream broke: " + why.Error(), Cause: why}
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

// next returns the next line that is no answer and no sign of life.
func (l *link) next() (line.Received, error) {
	for {
		r, err := l.read()
		switch {
		case err != nil:
			return r, err
		case r.Type == "ping":
			select {
			case l.out <- pong:
			default: // other lines wait to be sent, and will do
			}
		case r.Ref != "":
			l.answered(r)
		default:
			return r, nil
		}
	}
}

func (l *link) answered(r line.Received) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if answer := l.asked[r.Ref]; answer != nil {
		answer <- r // it has room
		delete(l.asked, r.Ref)
	}
}

// ask sends a line and returns its answer.
func (l *link) ask(ctx context.Context, ask line.Sent) (line.Received, error) {
	answer := make(chan line.Received, 1)
	l.mu.Lock()
	l.refs++
	ask.Ref = strconv.Itoa(l.refs)
	l.asked[ask.Ref] = answer
	l.mu.Unlock()
	text, err := ask.Encode()
	defer func() {
		l.mu.Lock()
		delete(l.asked, ask.Ref)
		l.mu.Unlock()
	}()
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
	return errBroken(context.Cause(l.ctx))
}
