package httpapi

import (
	"net/http"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// session serves a session for as long as it lasts.
func (s *Server) session(r *request) (int, error) {
	c := &duplex{ResponseController: http.NewResponseController(r.w), r: r}
	if r.ProtoMajor == 1 { // the body has no end that anybody should wait for
		r.w.Header().Set("Connection", "close")
	}
	defer c.SetReadDeadline(time.Now())
	if s.sessions == nil {
		return 0, unsupported("", "this server has no sessions; register with a lease of mode ttl, and renew it with POST …/heartbeat")
	}
	if err := readable(r.Header); err != nil {
		return 0, err
	}
	var ttl rollcall.Duration
	if v := r.param("ttl"); v != "" {
		if err := ttl.UnmarshalText([]byte(v)); err != nil || time.Duration(ttl) < rollcall.MinTTL || time.Duration(ttl) > rollcall.MaxTTL {
			return 0, rollcall.Invalid("ttl", "is a duration from 2s to 24h")
		}
	}
	if err := c.EnableFullDuplex(); err != nil {
		return 0, err
	}
	return http.StatusOK, s.sessions.Serve(r.ctx, c, time.Duration(ttl), r.settle)
}

// EndSessions ends the streams of all sessions, because the server stops.
func (s *Server) EndSessions() {
	if s.sessions != nil {
		s.sessions.End()
	}
}

// duplex is a request whose body is read while it is answered.
type duplex struct {
	*http.ResponseController
	r     *request
	begun bool
}

func (c *duplex) Read(b []byte) (int, error) { return c.r.Body.Read(b) }

func (c *duplex) Write(b []byte) (int, error) {
	if !c.begun {
		c.begun = true
		h := c.r.w.Header()
		h.Set("Content-Type", "application/x-ndjson")
		h.Set("X-Accel-Buffering", "no") // asks proxies to pass lines on at once
	}
	n, err := c.r.w.Write(b)
	if err == nil {
		err = c.Flush()
	}
	return n, err
}
