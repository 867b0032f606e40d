package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
	"github.com/rollcall-registry/rollcall/internal/httpapi/problem"
)

// hasBody reports whether a request has, or may have, a body.
func (r *request) hasBody() bool { return r.ContentLength != 0 }

// read returns a decoder of the request's body, which it has read whole. Give
// it back with done.
func (s *Server) read(r *request, limit int64) (*form.Decoder, error) {
	if err := readable(r.Header); err != nil {
		return nil, err
	}
	if r.ContentLength > limit {
		r.w.Header().Set("Connection", "close") // rather than read it to no end
		return nil, tooLarge(limit)
	}
	d := s.bodies.Get().(*form.Decoder)
	if !r.hasBody() {
		d.Begin(nil)
		return d, nil
	}
	if err := d.Fill(http.MaxBytesReader(r.w, r.Body, limit), r.ContentLength); err != nil {
		s.done(d)
		return nil, s.unread(err, limit)
	}
	return d, nil
}

// unread says why a body could not be read.
func (s *Server) unread(err error, limit int64) error {
	var large *http.MaxBytesError
	var timeout net.Error
	switch {
	case errors.Is(err, problem.ErrBusy):
		return err
	case errors.As(err, &large):
		return tooLarge(limit)
	case errors.As(err, &timeout) && timeout.Timeout():
		return &rollcall.Error{Kind: problem.ErrSlow, Detail: fmt.Sprintf("the body did not arrive within %v", s.o.BodyTimeout)}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return rollcall.Invalid("", "the body ends before its Content-Length")
	}
	return &rollcall.Error{Kind: rollcall.ErrInvalid, Detail: "the body could not be read: " + err.Error(), Cause: err}
}

// done takes a decoder back.
func (s *Server) done(d *form.Decoder) {
	d.Release()
	s.bodies.Put(d)
}

// readable refuses bodies that are not said to be JSON. Forms are let through
// because that is what curl -d says of everything.
func readable(h http.Header) error {
	if e := h["Content-Encoding"]; len(e) > 0 && e[0] != "identity" {
		return &rollcall.Error{Kind: problem.ErrMedia, Field: "Content-Encoding", Detail: "bodies are taken uncompressed only"}
	}
	ct := h["Content-Type"]
	if len(ct) == 0 {
		return nil
	}
	media, _, _ := strings.Cut(ct[0], ";")
	switch media = strings.ToLower(strings.TrimSpace(media)); media {
	case "", "application/json", "application/x-ndjson", "application/merge-patch+json", "application/x-www-form-urlencoded":
		return nil
	}
	return &rollcall.Error{Kind: problem.ErrMedia, Field: "Content-Type", Detail: fmt.Sprintf("%.80q is not taken; send application/json", media)}
}

func tooLarge(limit int64) error {
	return &rollcall.Error{Kind: rollcall.ErrTooLarge, Detail: fmt.Sprintf("the body is larger than %d bytes", limit)}
}
