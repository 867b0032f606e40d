package httpapi

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/httpapi/compress"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
	"github.com/rollcall-registry/rollcall/internal/httpapi/quote"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// resolve answers which instances a caller should use. What the answer costs
// when it was given before is what is written here: a look-up, unpacking, four headers.
func (s *Server) resolve(r *request) (int, error) {
	a, err := s.ask(r)
	if err != nil {
		return 0, err
	}
	token := a.Token()
	var body []byte
	packed := false
	named := !a.Past && a.Result == nil // there is a tag for all that the answer shows
	unchanged := named && len(r.Header["If-None-Match"]) > 0 && knows(r.Header["If-None-Match"], token)
	if !unchanged {
		body, packed = s.answer(r, a, token)
	}

	// All of these headers share one string.
	text := make([]byte, 0, 96)
	text = append(token.AppendTo(append(text, '"')), '"')
	etag := len(text)
	text = strconv.AppendUint(text, uint64(a.Revision), 10)
	revision := len(text)
	text = strconv.AppendInt(text, a.Age.Milliseconds(), 10)
	age := len(text)
	text = strconv.AppendInt(text, int64(len(body)), 10)
	all := string(text)
	values := []string{all[:etag], all[etag:revision], all[revision:age], all[age:]}
	h := r.w.Header()
	if named {
		h["Etag"] = values[0:1:1]
	}
	h["X-Rollcall-Revision"] = values[1:2:2]
	h["X-Rollcall-Age-Ms"] = values[2:3:3]
	h["Cache-Control"] = headerNoCache
	h["Vary"] = headerVary
	if unchanged {
		r.w.WriteHeader(http.StatusNotModified)
		return http.StatusNotModified, nil
	}
	h["Content-Length"] = values[3:4:4]
	if packed {
		h["Content-Encoding"] = headerGzip
	}
	return r.write(s, http.StatusOK, body)
}

// ask has the registry answer what a request asks.
func (s *Server) ask(r *request) (*resolve.Answer, error) {
	if r.params == nil {
		q := s.queries.Get().(*rollcall.Query) // of which nothing else is ever set
		defer s.queries.Put(q)
		q.Service = r.PathValue("service")
		return s.reg.Resolve(r.ctx, q)
	}
	q := rollcall.Query{Service: r.PathValue("service")}
	if err := form.Query(r.params, &q); err != nil {
		return nil, err
	}
	return s.reg.Resolve(r.ctx, &q)
}

// knows reports whether a caller says that it has what token names.
func knows(ifNoneMatch []string, token rollcall.Token) bool {
	var room [64]byte
	etag := append(token.AppendTo(append(room[:0], '"')), '"')
	for _, list := range ifNoneMatch {
		for known := range strings.SplitSeq(list, ",") {
			if known = strings.TrimPrefix(strings.TrimSpace(known), "W/"); known == string(etag) || known == "*" {
				return true
			}
		}
	}
	return false
}

// answer returns the body of an answer, as the headers of its request allow. It
// is valid until the request is done with.
func (s *Server) answer(r *request, a *resolve.Answer, token rollcall.Token) (body []byte, packed bool) {
	if a.Result != nil {
		return s.fresh(r, a, token)
	}
	key := "http"
	if a.Generation != 0 || a.Plan.Text() != "" {
		key = "http " + strconv.FormatUint(a.Generation, 10) + " " + a.Plan.Text()
	}
	keep := a.Same.IsZero() // else the token is the caller's own
	gzip := keep && compress.Accepted(r.Header)
	if gzip {
		if body, ok := a.View.Kept("gzip " + key); ok {
			return body, true
		}
	}
	kept := false
	if keep {
		body, kept = s.kept(r, a.View, key)
	}
	if !kept {
		body = s.made(r, a, token)
	}
	if gzip && len(body) >= worthGzip { // the other form is for others to keep
		return a.View.Memo("gzip "+key, func() []byte { return compress.Gzip(body) }), true
	}
	if keep && !kept {
		s.keep(a.View, key, body)
	}
	return body, false
}

// fresh returns the body of an answer that nobody else is given.
func (s *Server) fresh(r *request, a *resolve.Answer, token rollcall.Token) (body []byte, packed bool) {
	body = s.made(r, a, token)
	if len(body) >= worthGzip && compress.Accepted(r.Header) {
		return compress.Gzip(body), true
	}
	return body, false
}

// made encodes an answer into a buffer of the request's.
func (s *Server) made(r *request, a *resolve.Answer, token rollcall.Token) []byte {
	r.buffer = s.answers.Get().(*[]byte)
	*r.buffer = s.encode((*r.buffer)[:0], a, token)
	return *r.buffer
}

// mostPacked is how long an answer may be to be kept compressed: each request
// that is given it unpacks it into memory of its own, and has that until its
// caller has read it all. Longer ones are shared.
const mostPacked = 256 << 10

// kept returns an answer that is kept.
func (s *Server) kept(r *request, v *catalog.View, key string) (body []byte, ok bool) {
	packed, ok := v.Kept(key)
	if !ok {
		return v.Kept("whole " + key)
	}
	r.buffer = s.answers.Get().(*[]byte)
	body, err := compress.Unpack(*r.buffer, packed)
	*r.buffer = body
	return body, err == nil
}

// keep keeps an answer, packed so that those of all services have room.
func (s *Server) keep(v *catalog.View, key string, body []byte) {
	if len(body) > mostPacked {
		v.Keep("whole "+key, body)
		return
	}
	b := s.answers.Get().(*[]byte)
	defer s.answers.Put(b)
	if packed := compress.Pack(*b, body); packed != nil {
		*b = packed
		v.Keep(key, packed) // a copy
	}
}

// encode writes an answer as JSON.
func (s *Server) encode(b []byte, a *resolve.Answer, token rollcall.Token) []byte {
	endpoints, total := a.Endpoints()
	rev, panic := a.Content()
	b = quote.Append(append(b, `{"namespace":`...), a.Key.Namespace)
	b = quote.Append(append(b, `,"service":`...), a.Name)
	b = strconv.AppendUint(append(b, `,"revision":`...), uint64(rev), 10)
	if b = append(b, `,"token":"`...); !token.IsZero() {
		b = token.AppendTo(b)
	}
	b = append(b, '"')
	b = strconv.AppendBool(append(b, `,"panic":`...), panic)
	b = append(b, `,"total":`...)
	b = strconv.AppendInt(b, int64(total), 10)
	b = append(b, `,"instances":[`...)
	var w catalog.Writer
	w.B = b
	for n := range endpoints {
		if n > 0 {
			w.B = append(w.B, ',')
		}
		e := &endpoints[n]
		shown := catalog.Shown{Weight: e.Weight, Kilometres: e.Kilometres}
		if p, moved := s.reg.Position(e.Item.Key()); moved && !a.Past {
			shown.Position = &p
		}
		w.Append(e.Item, &shown)
	}
	return append(w.B, "]}\n"...)
}
