package httpapi

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/quote"
)

// seenWait is for how long a registration waits for watchers to have it.
const seenWait = 30 * time.Second

// register creates or replaces the instance that the path names.
func (s *Server) register(r *request) (int, error) {
	if v, ok := r.params["wait"]; ok && v[0] != "seen" {
		return 0, rollcall.Invalid("wait", fmt.Sprintf("%.40q is not taken; say seen, to be answered when the watchers have the instance, or leave it out", v[0]))
	}
	if r.Header["If-None-Match"] != nil {
		return 0, unsupported("If-None-Match", "this version cannot register only if absent; leave it out")
	}
	match, exists, err := r.condition()
	if err != nil {
		return 0, err
	}
	i, err := s.readInstance(r)
	if err != nil {
		return 0, err
	}
	put := s.reg.Register
	if exists {
		put = s.replace
	}
	got, created, err := put(r.ctx, i, match)
	if err != nil {
		return 0, err
	}
	if r.param("wait") == "seen" {
		b, err := s.reg.Seen(r.ctx, got.Key().ServiceKey, got.Revision, seenWait)
		if err != nil {
			return 0, err
		}
		r.w.Header().Set("X-Rollcall-Pending", strconv.Itoa(b.Pending))
	}
	if created {
		return s.sendInstance(r, http.StatusCreated, &got)
	}
	return s.sendInstance(r, http.StatusOK, &got)
}

// create registers an instance under an id that the registry chooses.
func (s *Server) create(r *request) (int, error) {
	i, err := s.readInstance(r)
	if err != nil {
		return 0, err
	}
	if i.ID != "" {
		return 0, rollcall.Invalid("id", "is chosen by the registry here; to choose it, PUT …/instances/ID")
	}
	got, _, err := s.reg.Register(r.ctx, i, 0)
	if err != nil {
		return 0, err
	}
	location := api + "/services/" + url.PathEscape(got.Service) + "/instances/" + url.PathEscape(got.ID)
	if got.Namespace != rollcall.DefaultNamespace {
		location += "?namespace=" + url.QueryEscape(got.Namespace)
	}
	r.w.Header().Set("Location", location)
	return s.sendInstance(r, http.StatusCreated, &got)
}

// readInstance reads the body of a registration of what the path names.
func (s *Server) readInstance(r *request) (i rollcall.Instance, err error) {
	d, err := s.read(r, s.o.MaxBody)
	if err != nil {
		return i, err
	}
	r.decoder = d // whose maps the answer is made of
	if err := d.Instance(&i); err != nil {
		return i, err
	}
	return i, r.place(&i)
}

// place fills in what a registration need not say because the request does, and
// refuses one that says otherwise.
func (r *request) place(i *rollcall.Instance) error {
	for _, f := range []struct {
		name, of string
		to       *string
	}{
		{"namespace", r.param("namespace"), &i.Namespace},
		{"service", r.PathValue("service"), &i.Service},
		{"id", r.PathValue("id"), &i.ID},
	} {
		of := f.of
		if of == "" && f.name == "namespace" && r.PathValue("service") != "" {
			of = rollcall.DefaultNamespace
		}
		switch {
		case *f.to == "":
			*f.to = of
		case of == "": // the request leaves it to the body
		case f.name == "namespace" && !strings.EqualFold(*f.to, of):
			return rollcall.Invalid(f.name, fmt.Sprintf("is %.140q, but the request is for namespace %.140q; say ?namespace= there too", *f.to, of))
		case f.name == "id" && *f.to != of, !strings.EqualFold(*f.to, of):
			return rollcall.Invalid(f.name, fmt.Sprintf("is %.260q, but the path says %.260q; leave it out or make them agree", *f.to, of))
		}
	}
	r.settle(i)
	return nil
}

// settle fills in where an instance is, if it does not say, and notes whether
// the request came from there. Addresses that mean another machine to everybody
// are the ones for which that matters: loopback and link-local ones.
func (r *request) settle(i *rollcall.Instance) {
	peer := r.peer()
	if i.Address == "" {
		i.Address = peer
	}
	from, err1 := netip.ParseAddr(peer)
	at, err2 := netip.ParseAddr(i.Address)
	at = at.Unmap().WithZone("")
	i.Vouched = err1 == nil && err2 == nil && (at.IsLoopback() && from.IsLoopback() || at.IsLinkLocalUnicast() && at == from)
}

// peer returns the address that the request came from. No header has a say in
// it.
func (r *request) peer() string {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return a.Addr().Unmap().WithZone("").String()
}

// condition reads If-Match: a revision, or "*" for any.
func (r *request) condition() (match rollcall.Revision, exists bool, err error) {
	h := r.Header["If-Match"]
	if h == nil {
		return 0, false, nil
	}
	if len(h) == 1 && h[0] == "*" {
		return 0, true, nil
	}
	n, err := strconv.ParseUint(strings.Trim(strings.Join(h, ","), `"`), 10, 64)
	if err != nil || n == 0 {
		return 0, false, rollcall.Invalid("If-Match", fmt.Sprintf("%.40q is not a revision, as the one of what is there and its ETag say it", strings.Join(h, ",")))
	}
	return rollcall.Revision(n), false, nil
}

// sendInstance answers with an instance. Its revision is its ETag, for
// If-Match; it is no word on its health.
func (s *Server) sendInstance(r *request, code int, i *rollcall.Instance) (int, error) {
	b := s.scratch.Get().(*[]byte)
	defer s.scratch.Put(b)
	*b = append(i.AppendJSON((*b)[:0]), '\n')
	return s.sendWhole(r, code, i.Revision, *b)
}

func (s *Server) sendWhole(r *request, code int, rev rollcall.Revision, body []byte) (int, error) {
	r.w.Header()["Etag"] = []string{`"` + strconv.FormatUint(uint64(rev), 10) + `"`}
	return r.write(s, code, body)
}

// instance answers with one instance, whole.
func (s *Server) instance(r *request) (int, error) {
	i, err := s.reg.Instance(r.ctx, r.key())
	if err != nil {
		return 0, err
	}
	return s.sendInstance(r, http.StatusOK, &i)
}

func (s *Server) deregister(r *request) (int, error) {
	match, exists, err := r.condition()
	if err != nil {
		return 0, err
	}
	if exists {
		return 0, rollcall.Invalid("If-Match", `takes a revision here, not "*"`)
	}
	if err := s.reg.Deregister(r.ctx, r.key(), match); err != nil {
		return 0, err
	}
	return r.empty()
}

// empty answers with nothing but success.
func (r *request) empty() (int, error) {
	r.w.WriteHeader(http.StatusNoContent)
	return http.StatusNoContent, nil
}

// update merges a patch (RFC 7396) into an instance.
func (s *Server) update(r *request) (int, error) {
	match, exists, err := r.condition()
	if err != nil {
		return 0, err
	}
	d, err := s.read(r, s.o.MaxBody)
	if err != nil {
		return 0, err
	}
	if p, ok := d.Position(); ok && match == 0 && !exists && math.Abs(p.Lat) <= 90 && math.Abs(p.Lon) <= 180 {
		s.done(d)
		return s.move(r, p)
	}
	patch, err := d.Patch(r.key())
	s.done(d)
	if err != nil {
		return 0, err
	}
	got, err := s.reg.Update(r.ctx, r.key(), match, func(i *rollcall.Instance) error {
		was := *i // whose maps and slices the patch leaves as they are
		err := patch.Apply(i)
		r.settle(i)
		i.Vouched = i.Vouched || was.Vouched && sameProbes(&was, i)
		return err
	})
	if exists && errors.Is(err, rollcall.ErrNotFound) {
		return 0, &rollcall.Error{Kind: rollcall.ErrPrecondition, Field: "If-Match", Detail: "the instance is not registered", Cause: err}
	}
	if err != nil {
		return 0, err
	}
	return s.sendInstance(r, http.StatusOK, &got)
}

// move is an update that says where an instance is and no more, which some do
// thousands of times a second. A place that does not exist is refused as in any
// other.
func (s *Server) move(r *request, p rollcall.Position) (int, error) {
	item, load, err := s.reg.Move(r.ctx, r.key(), p)
	if err != nil {
		return 0, err
	}
	b := s.scratch.Get().(*[]byte)
	defer s.scratch.Put(b)
	body := s.appendItem((*b)[:0], item, nil)
	if load != nil {
		body = load.AppendJSON(append(body[:len(body)-1], `,"load":`...))
		body = append(body, '}')
	}
	*b = append(body, '\n')
	return s.sendWhole(r, http.StatusOK, item.Revision(), *b)
}

// sameProbes reports whether the same is probed of two instances. Whoever vouches for
// an address does so for what is to be probed there: others may not lead probes
// elsewhere on that machine.
func sameProbes(a, b *rollcall.Instance) bool {
	return a.Address == b.Address && maps.Equal(a.Ports, b.Ports) && slices.EqualFunc(a.Checks, b.Checks, rollcall.Check.Same)
}

// listInstances answers with instances across services.
func (s *Server) listInstances(r *request) (int, error) {
	limit, err := r.pageSize()
	if err != nil {
		return 0, err
	}
	f := rollcall.InstanceFilter{Namespace: r.param("namespace"), Node: r.param("node"), Address: r.param("address")}
	is, next, err := s.reg.Instances(r.ctx, f, r.param("after"), limit)
	if err != nil {
		return 0, err
	}
	b := append(make([]byte, 0, 64+400*len(is)), `{"instances":[`...)
	for n := range is {
		if n > 0 {
			b = append(b, ',')
		}
		b = is[n].AppendJSON(b)
	}
	b = append(b, ']')
	if next != "" {
		b = quote.Append(append(b, `,"next":`...), next)
	}
	return r.send(s, http.StatusOK, append(b, "}\n"...))
}
