package roundtrip

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// attempt is one sending of a request to one instance.
type attempt struct {
	pick    Pick
	address string
	began   time.Time
	// asked: a connection was asked for, so that the base says how far it comes;
	// connected: one was had, and the body may have been read since; sent: the header
	// was written to it.
	asked, connected, sent atomic.Bool
}

// watch notes how far a request comes. A base that connects anew by itself knows that
// nothing has been sent, or that what has may be sent again.
func (a *attempt) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:      func(string) { a.asked.Store(true); a.connected.Store(false); a.sent.Store(false) },
		GotConn:      func(httptrace.GotConnInfo) { a.connected.Store(true) },
		WroteHeaders: func() { a.sent.Store(true) },
	})
}

// untouched reports whether an attempt that failed has left the request as it was. Of a
// base that does not say how far it comes (see [httptrace]) that is not known, unless
// nothing was given to it.
func (a *attempt) untouched(b *body) bool {
	if !a.asked.Load() {
		return a.address == ""
	}
	return !a.connected.Load() && b.untouched() || !a.sent.Load() && b.again()
}

// send sends the request. The Host header names the service, unless the request says
// otherwise.
func (a *attempt) send(base http.RoundTripper, req *http.Request, b *body) (*http.Response, error) {
	port := req.URL.Scheme
	if _, ok := a.pick.Instance().Ports[port]; !ok {
		port = ""
	}
	address, err := a.pick.Address(port)
	if err != nil {
		return nil, err
	}
	a.address = address
	ctx := context.WithValue(req.Context(), toInstance{}, true)
	out := req.WithContext(a.watch(ctx))
	to := *req.URL
	to.Host = address
	if out.Host == "" {
		out.Host = req.URL.Host
	}
	out.URL = &to
	if out.Body, err = b.next(); err != nil {
		return nil, err
	}
	return base.RoundTrip(out)
}

// tell says what became of the attempt. That the caller did not wait is nobody's
// fault; that an instance did not answer before the caller's deadline is its own, if
// it had the greater part of the time.
func (a *attempt) tell(ctx context.Context, resp *http.Response, err error, now, began time.Time) {
	switch {
	case a.address == "":
		a.pick.Done(context.Canceled) // nothing was sent
	case err != nil && ctx.Err() != nil && (ctx.Err() != context.DeadlineExceeded || 2*now.Sub(a.began) < now.Sub(began)):
		a.pick.Done(context.Canceled)
	case err != nil:
		a.pick.Done(err)
	default:
		load(a.pick, resp.Header)
		if blamed(resp.StatusCode) {
			a.pick.Done(fmt.Errorf("status %d", resp.StatusCode))
		} else {
			a.pick.Done(nil)
		}
	}
}

// blamed reports whether a status says that the instance failed, or has too much to
// do, rather than that the request was wrong.
func blamed(status int) bool {
	return status == http.StatusTooManyRequests || status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported
}

// body hands out the body of a request, once for each attempt.
type body struct {
	req  *http.Request
	held *heldBody // the only one, where there is no way to another
	used bool
}

func hold(req *http.Request) *body {
	b := &body{req: req}
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		b.held = &heldBody{ReadCloser: req.Body}
	}
	return b
}

// again reports whether there is a body for another attempt after one that may have
// read it, and untouched after one that should not have.
func (b *body) again() bool     { return b.held == nil }
func (b *body) untouched() bool { return b.held == nil || !b.held.read.Load() }

func (b *body) next() (io.ReadCloser, error) {
	first := !b.used
	b.used = true
	switch {
	case b.held != nil:
		return b.held, nil
	case first || b.req.GetBody == nil:
		return b.req.Body, nil
	}
	return b.req.GetBody()
}

// release closes what no attempt will ask for any more.
func (b *body) release() {
	switch {
	case !b.used:
		drop(b.req)
	case b.held != nil:
		b.held.release()
	}
}

// heldBody is one that an attempt which did not read it leaves open for the next. A
// close comes from another goroutine than release, and the later of the two closes.
type heldBody struct {
	io.ReadCloser
	read, closed, released, over atomic.Bool
}

func (b *heldBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	return b.ReadCloser.Read(p)
}

func (b *heldBody) Close() error {
	b.closed.Store(true)
	if b.read.Load() || b.released.Load() {
		return b.close()
	}
	return nil
}

func (b *heldBody) release() {
	b.released.Store(true)
	if b.closed.Load() {
		b.close()
	}
}

func (b *heldBody) close() error {
	if b.over.Swap(true) {
		return nil
	}
	return b.ReadCloser.Close()
}
