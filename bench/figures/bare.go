package figures

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// bare says what the least server answers that net/http allows: the limit of any server in
// Go that speaks HTTP.
type bare struct {
	Status int
	Bytes  int         // of the body
	Header http.Header // beside Content-Type and Content-Length
}

// serveBare is the role of a bare server.
func serveBare(config []byte) (any, error) {
	var c bare
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	child.Ready(ln.Addr().String())
	return nil, http.Serve(ln, c.handler())
}

func (c bare) handler() http.HandlerFunc {
	body := []byte(strings.Repeat("x", c.Bytes))
	length := strconv.Itoa(len(body))
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		h := w.Header()
		for name, values := range c.Header {
			h[name] = values
		}
		if c.Status == http.StatusNotModified {
			w.WriteHeader(c.Status)
			return
		}
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", length)
		w.WriteHeader(c.Status)
		w.Write(body)
	}
}

// Bare starts a server that answers what another one has answered to a request: a body of
// the same size, and with headers all the same headers.
func (b *Bench) Bare(like Server, request []byte, headers bool) (Server, error) {
	reply, body, err := wire.Once(like.Addr, request)
	if err != nil {
		return Server{}, err
	}
	c, name := bare{Status: reply.StatusCode, Bytes: len(body)}, "bare"
	if headers {
		name, c.Header = "bare-same-headers", reply.Header
		c.Header.Del("Date")
	}
	return b.Child(name, "bare", c)
}
