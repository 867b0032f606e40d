package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// Kinds of errors that are HTTP's alone.
var (
	errUnexpected = errors.New("internal server error")
	errMethod     = errors.New("method not allowed")
	errMedia      = errors.New("unsupported media type")
	errSlow       = errors.New("request timed out")
	errBusy       = errors.New("server is busy")
)

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
	{errMethod, "", http.StatusMethodNotAllowed, false},
	{errMedia, "", http.StatusUnsupportedMediaType, false},
	{errSlow, "", http.StatusRequestTimeout, false},
	{errBusy, "", http.StatusServiceUnavailable, true},
}

// problem is an RFC 9457 problem document.
type problem struct {
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

// problemOf returns how err is answered; known is false for an error that no
// one expected, which is not shown.
func problemOf(err error) (p problem, known bool) {
	var e *rollcall.Error
	kindOf := err
	if errors.As(err, &e) {
		kindOf = e.Kind // whatever caused it
	}
	kind := outcome{kind: errUnexpected, status: http.StatusInternalServerError}
	for _, o := range outcomes {
		if errors.Is(kindOf, o.kind) {
			kind, known = o, true
			break
		}
	}
	p = problem{Type: "about:blank", Title: kind.kind.Error(), Status: kind.status}
	if kind.name != "" {
		p.Type = "/problems/" + kind.name
	}
	switch {
	case e != nil:
		known = known || e.Kind == errUnexpected
		p.Field = shorten(e.Field, maxField)
		p.Detail = shorten(e.Error(), maxDetail)
		p.retry = e.RetryAfter
	case known:
		p.Detail = shorten(err.Error(), maxDetail)
	default:
		p.Detail = errInternal.Detail
	}
	if kind.retry {
		p.retry = max(p.retry, time.Second)
	} else {
		p.retry = 0
	}
	return p, known
}

// shorten cuts s to at most n bytes of valid UTF-8 without control characters.
func shorten(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return utf8.RuneError
		}
		return r
	}, s)
	if len(s) <= n {
		return s
	}
	n -= len("…")
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

func (p *problem) appendJSON(b []byte) []byte {
	b = appendString(append(b, `{"type":`...), p.Type)
	b = appendString(append(b, `,"title":`...), p.Title)
	b = strconv.AppendInt(append(b, `,"status":`...), int64(p.Status), 10)
	if p.Detail != "" {
		b = appendString(append(b, `,"detail":`...), p.Detail)
	}
	if p.Field != "" {
		b = appendString(append(b, `,"field":`...), p.Field)
	}
	return append(b, '}')
}

// appendString writes s as a JSON string. Bytes that are not UTF-8 become
// U+FFFD.
func appendString(b []byte, s string) []byte {
	b, _ = jsontext.AppendQuote(b, s) // its error says that bytes were replaced
	return b
}

// refuse answers with a problem document and returns its status.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) int {
	p, known := problemOf(err)
	if !known {
		s.o.Logger.Error("a request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	h := w.Header()
	h["Content-Type"] = headerProblem
	h["X-Content-Type-Options"] = headerNosniff
	h["Cache-Control"] = headerNoStore
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
	w.Write(append(p.appendJSON(nil), '\n'))
	return p.Status
}

func methodNotAllowed(method string, allowed []string) error {
	return &rollcall.Error{Kind: errMethod, Detail: fmt.Sprintf("%.20q is not allowed here; use %s", method, strings.Join(allowed, ", "))}
}

func noSuchPath(path string) error {
	return &rollcall.Error{Kind: rollcall.ErrNotFound, Detail: fmt.Sprintf("nothing is at %.200q; %s/openapi.json says what is where", path, api)}
}

// foreignOrigin keeps web pages from changing what they find on the machine of
// whoever looks at them: what is sent as a form needs no leave of the server.
func foreignOrigin() error {
	return &rollcall.Error{Kind: rollcall.ErrForbidden, Detail: "a web page of another origin may not change anything here"}
}

func unsupported(field, detail string) error {
	return &rollcall.Error{Kind: rollcall.ErrUnsupported, Field: field, Detail: detail}
}
