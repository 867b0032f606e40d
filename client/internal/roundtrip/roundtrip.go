// Package roundtrip sends HTTP requests to instances of services: it finds out which
// service a URL means, sends the request to the instance that was picked, tells what
// became of it, and sends it again elsewhere where that is safe.
//
// A request is sent again if nothing of it has been sent yet: no connection could be
// had, or that broke before the header was written, as the base tells by
// [net/http/httptrace]. Otherwise only if it may be
// carried out twice (by its method, or because it has an Idempotency-Key), and the
// connection broke or the answer was 502, 503 or 504; and not more often than a fifth
// of all requests of the last ten seconds, so that an outage of the service is not
// made worse by those who call it.
package roundtrip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/orca"
)

// others is to how many other instances a request is sent.
const others = 2

// drained is how much of an answer nobody wants is read, so that its connection can
// be used again.
const drained = 16 << 10

// Pick is a request that is under way to an instance.
type Pick interface {
	Instance() *rollcall.Instance
	// Address returns the address of a named port.
	Address(port string) (string, error)
	// Done says that the request is over, with an error if the instance is to blame.
	// [context.Canceled] says that nobody is. It is called once.
	Done(error)
	// Loaded passes on what the answer said of the instance's load.
	Loaded(inFlight int, latency time.Duration)
}

// Picker picks instances of services by name: "payments", or "shop/payments".
type Picker interface {
	// Pick waits until it is known who there is.
	Pick(ctx context.Context, service string) (Pick, error)
	// PickOther leaves out instances by id, if there are others.
	PickOther(service string, not ...string) (Pick, error)
}

// Transport is an http.RoundTripper. It may be used by any number of goroutines.
type Transport struct {
	base    http.RoundTripper
	picker  Picker
	now     func() time.Time
	budgets sync.Map // of services that have been picked from: name to *budget
}

// New returns a transport that sends what goes to services through base.
func New(base http.RoundTripper, p Picker) *Transport {
	if base == nil {
		base = direct()
	}
	return &Transport{base: base, picker: p, now: time.Now}
}

// CloseIdleConnections closes those of base.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	name, ok := Name(req.URL)
	if !ok {
		return t.base.RoundTrip(req)
	}
	pick, err := t.picker.Pick(req.Context(), name)
	if err != nil {
		drop(req)
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t.send(name, pick, req)
}

// drop closes the body of a request that is not sent.
func drop(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

func (t *Transport) budget(service string) *budget {
	b, ok := t.budgets.Load(service)
	if !ok {
		b, _ = t.budgets.LoadOrStore(service, new(budget))
	}
	return b.(*budget)
}

// send sends a request to the instance that was picked, then to others for as long
// as that may help.
func (t *Transport) send(service string, pick Pick, req *http.Request) (*http.Response, error) {
	body := hold(req)
	defer body.release()
	failed := &Error{service: service}
	began := t.now()
	budget := t.budget(service)
	budget.request(began)
	for {
		a := attempt{pick: pick, began: t.now()}
		resp, err := a.send(t.base, req, body)
		a.tell(req.Context(), resp, err, t.now(), began)
		failed.add(&a, err)
		pick = t.another(budget, &a, failed, req, body, resp, err)
		switch {
		case pick != nil:
			discard(resp)
		case err != nil:
			return nil, failed
		default:
			resp.Request = req
			return resp, nil
		}
	}
}

// another picks an instance that a request is to be sent to next, if that may be and
// there is one.
func (t *Transport) another(b *budget, a *attempt, failed *Error, req *http.Request, body *body, resp *http.Response, err error) Pick {
	untouched := err != nil && a.untouched(body)
	switch {
	case err == nil && !gateway(resp.StatusCode), givenUp(req), len(failed.tries) > others:
		return nil
	case !untouched && !(repeatable(req) && body.again()):
		return nil
	}
	pick, err := t.picker.PickOther(failed.service, failed.ids()...)
	if err != nil {
		return nil
	}
	if failed.has(pick.Instance().ID) || !untouched && !b.retry(t.now()) {
		pick.Done(context.Canceled)
		return nil
	}
	return pick
}

// givenUp reports whether who sent a request waits for it no more. An [http.Client]
// whose time is over says so by a channel of the request, and by its context maybe a
// moment later.
func givenUp(req *http.Request) bool {
	select {
	case <-req.Cancel: //lint:ignore SA1019 http.Client uses it
		return true
	default:
		return req.Context().Err() != nil
	}
}

// gateway reports whether a status says that the answer of another instance may be
// another one.
func gateway(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// repeatable reports whether a request may be carried out twice.
func repeatable(req *http.Request) bool {
	switch req.Method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	_, ok := req.Header["Idempotency-Key"]
	return ok
}

func discard(resp *http.Response) {
	if resp != nil {
		io.CopyN(io.Discard, resp.Body, drained)
		resp.Body.Close()
	}
}

// zone is what the name of a service ends with where it stands for itself in the DNS.
const zone = ".service.rollcall"

// Name returns the service that a URL means: "payments" for http://payments/, and also
// for http://payments.service.rollcall/; "shop/payments" for
// http://payments.shop.service.rollcall/. It is false for everything that has a
// meaning without a registry: a URL with a port, an IP address, localhost, any other
// host with a dot, and other schemes than http and https.
func Name(u *url.URL) (string, bool) {
	host := strings.ToLower(u.Host)
	switch {
	case u.Scheme != "http" && u.Scheme != "https", host == "", host == "localhost", strings.ContainsAny(host, ":["):
		return "", false
	}
	full, ok := strings.CutSuffix(host, zone)
	if !ok {
		return host, !strings.Contains(host, ".")
	}
	name, namespace, ok := cutLast(full)
	if ok {
		return namespace + "/" + name, name != "" && namespace != ""
	}
	return full, full != ""
}

func cutLast(s string) (before, after string, ok bool) {
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// Error says which instances a request was sent to in vain.
type Error struct {
	service string
	tries   []try
}

type try struct {
	id, address string
	err         error
}

func (e *Error) add(a *attempt, err error) {
	e.tries = append(e.tries, try{a.pick.Instance().ID, a.address, err})
}

func (e *Error) ids() []string {
	ids := make([]string, len(e.tries))
	for n, t := range e.tries {
		ids[n] = t.id
	}
	return ids
}

func (e *Error) has(id string) bool {
	for _, t := range e.tries {
		if t.id == id {
			return true
		}
	}
	return false
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.service)
	for n, t := range e.tries {
		b.WriteString(map[bool]string{true: ": ", false: "; "}[n == 0])
		b.WriteString(t.id)
		if t.address != "" {
			b.WriteString(" at " + t.address)
		}
		if t.err == nil {
			b.WriteString(": not available")
		} else {
			b.WriteString(": " + t.err.Error())
		}
	}
	return b.String()
}

// Unwrap returns what went wrong at each.
func (e *Error) Unwrap() (errs []error) {
	for _, t := range e.tries {
		if t.err != nil {
			errs = append(errs, t.err)
		}
	}
	return errs
}

// Timeout reports whether the last one did not answer in time.
func (e *Error) Timeout() bool {
	last, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](e.tries[len(e.tries)-1].err)
	return ok && last.Timeout()
}

// load passes on what an answer says of the load.
func load(pick Pick, h http.Header) {
	said := h[orca.Header]
	if len(said) == 0 {
		return
	}
	if r, err := orca.Parse(said[0]); err == nil {
		if n, took, ok := r.Answer(); ok {
			pick.Loaded(n, took)
		}
	}
}
