package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/rollcall-registry/rollcall/internal/httpapi/compress"
	"github.com/rollcall-registry/rollcall/internal/httpapi/cork"
)

// Values of headers that are the same for every answer: shared, never changed.
var (
	headerJSON    = []string{"application/json"}
	headerText    = []string{"text/plain; charset=utf-8"}
	headerOctets  = []string{"application/octet-stream"}
	headerGzip    = []string{"gzip"}
	headerNosniff = []string{"nosniff"}
	headerNoStore = []string{"no-store"}
	headerNoCache = []string{"no-cache"}
	headerVary    = []string{"Accept-Encoding"}
)

const (
	// worthGzip is how long a body must be to be compressed.
	worthGzip = 1 << 10
	// worthDeadline is how long a body must be to be written against a
	// deadline: shorter ones always fit into the socket's buffer.
	worthDeadline = 16 << 10
	// worthHolding is how long a body must be not to leave with one write
	// anyway.
	worthHolding = 3 << 10
)

// json answers with v, which no hot path does.
func (r *request) json(s *Server, code int, v any) (int, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it is read by people, and never as HTML
	if err := e.Encode(v); err != nil {
		return 0, err
	}
	return r.send(s, code, b.Bytes())
}

// send answers with a JSON body, compressed if the caller takes that and it is
// worth it.
func (r *request) send(s *Server, code int, body []byte) (int, error) {
	if len(body) >= worthGzip {
		r.w.Header()["Vary"] = headerVary
		if compress.Accepted(r.Header) {
			r.w.Header()["Content-Encoding"] = headerGzip
			body = compress.Gzip(body)
		}
	}
	return r.write(s, code, body)
}

// write answers with a JSON body as it is.
func (r *request) write(s *Server, code int, body []byte) (int, error) {
	h := r.w.Header()
	h["Content-Type"] = headerJSON
	if h["Content-Length"] == nil {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	if code != http.StatusOK {
		r.w.WriteHeader(code)
	}
	if len(body) >= worthDeadline {
		http.NewResponseController(r.w).SetWriteDeadline(time.Now().Add(s.o.WriteTimeout))
	}
	if len(body) >= worthHolding {
		cork.Hold(r.Context())
	}
	r.w.Write(body)
	return code, nil
}
