// Package problem says how errors are answered over HTTP: as problem documents
// (RFC 9457), each kind of error with the status and the name that it has
// everywhere. One table is the source of both.
package problem

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/quote"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// Kinds of errors that are HTTP's alone.
var (
	ErrUnexpected = errors.New("internal server error")
	ErrMethod     = errors.New("method not allowed")
	ErrMedia      = errors.New("unsupported media type")
	ErrSlow       = errors.New("request timed out")
	ErrBusy       = errors.New("server is busy")
)

// Internal is what an error that nobody foresaw is shown as.
var Internal = &rollcall.Error{Kind: ErrUnexpected, Detail: "something went wrong in the server; its log says what"}

// outcome is how a kind of error is answered. Kinds without a name of their own
// have type about:blank, which says no more than the status.
type outcome struct {
	kind   error
	name   string
	status int
	retry  bool
}

var outcomes = [...]outcome{
	{rollcall.ErrInvalid, "invalid", http.StatusBadRequest, false},
	{rollcall.ErrTooLarge, "too-large", http.StatusRequestEntityTooLarge, false},
	{rollcall.ErrNotFound, "not-found", http.StatusNotFound, false},
	{rollcall.ErrConflict, "conflict", http.StatusConflict, false},
	{rollcall.ErrPrecondition, "precondition-failed", http.StatusPreconditionFailed, false},
	{rollcall.ErrUnauthenticated, "unauthenticated", http.StatusUnauthorized, false},
	{rollcall.ErrForbidden, "forbidden", http.StatusForbidden, false},
	{rollcall.ErrTooMany, "too-many-requests", http.StatusTooManyRequests, true},
	{rollcall.ErrUnsupported, "not-implemented", http.StatusNotImplemented, false},
	{rollcall.ErrUnavailable, "log-unavailable", http.StatusServiceUnavailable, true},
	{rollcall.ErrNotSynced, "not-synced", http.StatusServiceUnavailable, true},
	{rollcall.ErrSettling, "settling", http.StatusServiceUnavailable, true},
	{rollcall.ErrTimeout, "timed-out", http.StatusGatewayTimeout, false},
	{context.DeadlineExceeded, "timed-out", http.StatusGatewayTimeout, false},
	{context.Canceled, "", 499, false}, // nobody is there to read it; for the metrics
	{watch.ErrClosed, "", http.StatusServiceUnavailable, true},
	{ErrMethod, "", http.StatusMethodNotAllowed, false},
	{ErrMedia, "", http.StatusUnsupportedMediaType, false},
	{ErrSlow, "", http.StatusRequestTimeout, false},
	{ErrBusy, "", http.StatusServiceUnavailable, true},
}

// Document is a problem document.
type Document struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Field  string `json:"field,omitempty"`

	retry time.Duration // 0: no Retry-After
}

// Bounds of what is echoed.
const (
	maxDetail = 600
	maxField  = 300
)

// Of returns how err is answered; known is false for an error that no
// one expected, which is not shown.
func Of(err error) (p Document, known bool) {
	var e *rollcall.Error
	kindOf := err
	if errors.As(err, &e) {
		kindOf = e.Kind // whatever caused it
	}
	kind := outcome{kind: ErrUnexpected, status: http.StatusInternalServerError}
	for _, o := range outcomes {
		if errors.Is(kindOf, o.kind) {
			kind, known = o, true
			break
		}
	}
	p = Document{Type: "about:blank", Title: kind.kind.Error(), Status: kind.status}
	if kind.name != "" {
		p.Type = "/problems/" + kind.name
	}
	switch {
	case e != nil:
		known = known || e.Kind == ErrUnexpected
		p.Field = quote.Shorten(e.Field, maxField)
		p.Detail = quote.Shorten(e.Error(), maxDetail)
		p.retry = e.RetryAfter
	case known:
		p.Detail = quote.Shorten(err.Error(), maxDetail)
	default:
		p.Detail = Internal.Detail
	}
	if kind.retry {
		p.retry = max(p.retry, time.Second)
	} else {
		p.retry = 0
	}
	return p, known
}

// AppendJSON writes the document.
func (p *Document) AppendJSON(b []byte) []byte {
	b = quote.Append(append(b, `{"type":`...), p.Type)
	b = quote.Append(append(b, `,"title":`...), p.Title)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(p.Status), 10)
	if p.Detail != "" {
		b = quote.Append(append(b, `,"detail":`...), p.Detail)
	}
	if p.Field != "" {
		b = quote.Append(append(b, `,"field":`...), p.Field)
	}
	return append(b, '}')
}

// Send answers with the document.
func (p *Document) Send(w http.ResponseWriter) {
	h := w.Header()
	h["Content-Type"] = []string{"application/problem+json"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h["Cache-Control"] = []string{"no-store"}
	for _, name := range []string{"ETag", "Content-Encoding", "Content-Length"} {
		h.Del(name)
	}
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((p.retry+time.Second-1)/time.Second)))
	}
	switch p.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusRequestTimeout:
		h.Set("Connection", "close")
	}
	w.WriteHeader(p.Status)
	w.Write(append(p.AppendJSON(nil), '\n'))
}
