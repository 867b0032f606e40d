package modeltest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

func match(name, value string) []rollcall.Match { return []rollcall.Match{{Name: name, Value: value}} }

// queries are what is asked of every service that changes. Each is followed by
// the number of one that must answer at least as much; the first of all is its
// own.
var queries = []struct {
	q     rollcall.Query
	wider int
}{
	{rollcall.Query{Health: "any"}, 0},
	{rollcall.Query{}, 0},
	{rollcall.Query{Health: "routable", Limit: 2}, 1},
	{rollcall.Query{Health: "healthy"}, 1},
	{rollcall.Query{Health: "degraded"}, 1},
	{rollcall.Query{Health: "starting"}, 0},
	{rollcall.Query{Health: "unhealthy"}, 0},
	{rollcall.Query{Health: "draining", Limit: 1}, 0},
	{rollcall.Query{Capability: match("gpu", "2.0")}, 1},
	{rollcall.Query{Health: "any", Capability: match("codecs", "av1")}, 0},
	{rollcall.Query{Health: "any", Capability: append(match("codecs", "av1"), match("gpu", "2")...)}, 9},
	{rollcall.Query{Metadata: match("team", "checkout"), Limit: 3}, 1},
	{rollcall.Query{Health: "any", Capability: match("canary", "true"), Metadata: match("team", "")}, 0},
}

// sees returns a query's selection, apart from the limit, as a rule for items.
func sees(q *rollcall.Query) func(*item) bool {
	return func(i *item) bool {
		switch q.Health {
		case "", "routable":
			if i.status != rollcall.Healthy && i.status != rollcall.Degraded && i.status != rollcall.Suspect {
				return false
			}
		case "any":
		default:
			if i.status.String() != q.Health {
				return false
			}
		}
		for _, m := range q.Capability {
			var value any
			if c, ok := i.registered.Capabilities[m.Name]; !ok || json.Unmarshal([]byte(c.String()), &value) != nil || !saysValue(value, m.Value) {
				return false
			}
		}
		for _, m := range q.Metadata {
			if value, ok := i.registered.Metadata[m.Name]; !ok || value != m.Value {
				return false
			}
		}
		return true
	}
}

func saysValue(value any, text string) bool {
	switch v := value.(type) {
	case bool:
		return strconv.FormatBool(v) == text
	case float64:
		n, err := strconv.ParseFloat(text, 64)
		return err == nil && n == v
	case string:
		return v == text
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return saysValue(e, text) })
	}
	return false
}

// shown returns an item with the soft state that answers have.
func (w *world) shown(i *item) rollcall.Instance {
	is := i.instance()
	is.Position, is.EffectiveWeight = w.soft.position(i), i.effective(*is.Weight)
	return is
}

// whole returns an item with all there is of it.
func (w *world) whole(i *item) rollcall.Instance {
	is := w.shown(i)
	if l, ok := w.soft.loads[i.key]; ok {
		is.Load = &l
	}
	return is
}

// itemsOf returns the instances of an answer, and how many match.
func itemsOf(a *resolve.Answer) (items []*catalog.Item, total int) {
	endpoints, total := a.Endpoints()
	for n := range endpoints {
		items = append(items, endpoints[n].Item)
	}
	return items, total
}

// kindOf names an error's class.
func kindOf(err error) string {
	if err == nil {
		return "ok"
	}
	for _, k := range []error{
		rollcall.ErrInvalid, rollcall.ErrNotFound, rollcall.ErrPrecondition, rollcall.ErrUnsupported, rollcall.ErrNotSynced,
		rollcall.ErrSettling, rollcall.ErrTimeout, rollcall.ErrUnavailable, rollcall.ErrConflict, rollcall.ErrTooLarge,
	} {
		if errors.Is(err, k) {
			return k.Error()
		}
	}
	return "error: " + err.Error()
}

// absent is what is said of a service that is not known.
func (w *world) absent() string {
	if w.settling() {
		return rollcall.ErrSettling.Error()
	}
	return rollcall.ErrNotFound.Error()
}

// checkQueries asks all queries of a service through the Go API and the door.
func (w *world) checkQueries(key rollcall.ServiceKey) error {
	s := w.history.newest()
	v, known := s.services[key]
	answers := make([][]string, len(queries))
	for n := range queries {
		q := queries[n].q
		q.Namespace, q.Service = key.Namespace, key.Service
		name := fmt.Sprintf("%v %s", key, q.Values().Encode())
		a, err := w.reg.Resolve(w.ctx, &q)
		if !known {
			if got := kindOf(err); got != w.absent() {
				return fmt.Errorf("%s: %s, want %s", name, got, w.absent())
			}
			if err := w.checkDoor(name, &q, nil, service{}); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		want := s.of(key, sees(&q))
		items, total := itemsOf(a)
		if total != len(want) || q.Limit == 0 && len(items) != total || q.Limit > 0 && len(items) != min(q.Limit, total) {
			return fmt.Errorf("%s: %d of %d instances, want %d in all", name, len(items), total, len(want))
		}
		for at, i := range items {
			if got := believe(i); got != want[at].belief() {
				return fmt.Errorf("%s: instance %d is\n%swant\n%s", name, at, got.text, want[at].belief().text)
			}
			answers[n] = append(answers[n], i.ID())
		}
		if a.View.Revision() != v.revision || a.Revision != s.revision || a.Age != 0 {
			return fmt.Errorf("%s: the view's revision is %d, the snapshot's %d, the age %v; want %d, %d, 0", name, a.View.Revision(), a.Revision, a.Age, v.revision, s.revision)
		}
		if limit := q.Limit; limit == 0 {
			for _, id := range answers[n] {
				if wider := answers[queries[n].wider]; !slices.Contains(wider, id) {
					return fmt.Errorf("%s: %s is in the answer, but not in that of a wider query: %v", name, id, wider)
				}
			}
		} else {
			q.Limit = 0
			all, err := w.reg.Resolve(w.ctx, &q)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if without, _ := itemsOf(all); len(without) < len(items) || !slices.Equal(without[:len(items)], items) {
				return fmt.Errorf("%s: the answer is not the begin of the one without limit", name)
			}
			q.Limit = limit
		}
		if err := w.checkDoor(name, &q, want, v); err != nil {
			return err
		}
	}
	return nil
}

// known is what a caller of the door remembers of an answer.
type known struct {
	etag string
	body string
}

// get asks the door.
func (w *world) get(method, target string, body []byte, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(w.ctx, method, target, bytes.NewReader(body))
	if body == nil {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	for k, v := range header {
		r.Header[k] = v
	}
	rec := httptest.NewRecorder()
	w.door.ServeHTTP(rec, r)
	return rec
}

// checkDoor asks the same over HTTP: plain or gzip, and as one who knows what
// was answered before.
func (w *world) checkDoor(name string, q *rollcall.Query, want []*item, v service) error {
	values := q.Values()
	target := "/api/v1/services/" + url.PathEscape(q.Service)
	if len(values) > 0 {
		target += "?" + values.Encode()
	}
	h := http.Header{}
	before, asked := w.answered[target]
	if asked {
		h.Set("If-None-Match", before.etag)
	}
	packed := w.rng.IntN(2) == 0
	if packed {
		h.Set("Accept-Encoding", "gzip")
	}
	rec := w.get("GET", target, nil, h)
	if v.name == "" {
		delete(w.answered, target)
		wantCode := http.StatusNotFound
		if w.settling() {
			wantCode = http.StatusServiceUnavailable
		}
		if rec.Code != wantCode {
			return fmt.Errorf("GET %s: %d, want %d: %s", target, rec.Code, wantCode, rec.Body)
		}
		return nil
	}
	answer := rollcall.Answer{
		Namespace: q.Namespace, Service: v.name, Revision: v.revision, Total: len(want), Instances: []rollcall.Instance{},
	}
	for n, i := range want {
		if q.Limit == 0 || n < q.Limit {
			answer.Instances = append(answer.Instances, w.shown(i))
		}
	}
	body := before.body
	switch rec.Code {
	case http.StatusOK:
		r := io.Reader(rec.Body)
		if rec.Header().Get("Content-Encoding") == "gzip" {
			if !packed {
				return fmt.Errorf("GET %s: compressed for one who cannot read it", target)
			}
			var err error
			if r, err = gzip.NewReader(r); err != nil {
				return fmt.Errorf("GET %s: %w", target, err)
			}
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return fmt.Errorf("GET %s: %w", target, err)
		}
		body = string(b)
		if asked && rec.Header().Get("Etag") == before.etag {
			return fmt.Errorf("GET %s: the same ETag %s once more", target, before.etag)
		}
	case http.StatusNotModified:
		if !asked || rec.Header().Get("Etag") != before.etag {
			return fmt.Errorf("GET %s: 304 with ETag %s for one who knows %s", target, rec.Header().Get("Etag"), before.etag)
		}
	default:
		return fmt.Errorf("GET %s: %d: %s", target, rec.Code, rec.Body)
	}
	var got rollcall.Answer
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		return fmt.Errorf("GET %s: %w in %s", target, err, body)
	}
	answer.Token = rollcall.Token{Log: w.log.Status().ID, Revision: v.revision, Generation: got.Token.Generation}
	if g, w := asJSON(got), asJSON(answer); g != w {
		return fmt.Errorf("GET %s (code %d):\n%s\nwant\n%s", target, rec.Code, g, w)
	}
	if etag := rec.Header().Get("Etag"); etag != `"`+answer.Token.String()+`"` {
		return fmt.Errorf("GET %s: ETag %s of an answer with token %s", target, etag, answer.Token)
	}
	if got := rec.Header().Get("X-Rollcall-Revision"); got != fmt.Sprint(w.history.newest().revision) {
		return fmt.Errorf("GET %s: X-Rollcall-Revision %s, want %d", target, got, w.history.newest().revision)
	}
	w.answered[target] = known{rec.Header().Get("Etag"), body}
	return nil
}

// checkLists holds the lists of services and instances, page by page, and each
// instance by its id against the newest state.
func (w *world) checkLists(keys []rollcall.Key) error {
	s := w.history.newest()
	for _, namespace := range []string{"", "default", "Prod", "nowhere"} {
		topic := rollcall.ServiceKey{Namespace: strings.ToLower(namespace)}
		var want, got []string
		for _, i := range s.of(topic, anything) {
			want = append(want, asJSON(w.whole(i)))
		}
		limit := 1 + w.rng.IntN(50)
		for after := ""; ; {
			page, next, err := w.reg.Instances(w.ctx, rollcall.InstanceFilter{Namespace: namespace}, after, limit)
			if err != nil {
				return fmt.Errorf("instances of %q: %w", namespace, err)
			}
			for _, i := range page {
				got = append(got, asJSON(i))
			}
			if after = next; next == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("instances of %q in pages of %d:\n%s\nwant\n%s", namespace, limit, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		count := 0
		for after := ""; ; {
			page, next, err := w.reg.Services(w.ctx, namespace, time.Time{}, after, limit)
			if err != nil {
				return fmt.Errorf("services of %q: %w", namespace, err)
			}
			for _, sum := range page {
				key := rollcall.NewServiceKey(sum.Namespace, sum.Service)
				v := s.services[key]
				if count++; sum.Service != v.name || sum.Revision != v.revision || sum.Instances != s.count(key) {
					return fmt.Errorf("services of %q: %+v, want %+v", namespace, sum, v)
				}
				settings, err := w.reg.Settings(w.ctx, key)
				if v.settings == nil {
					v.settings = new(rollcall.Settings)
				}
				if err != nil || asJSON(settings) != asJSON(v.settings) {
					return fmt.Errorf("settings of %v: %s, %v, want %s", key, asJSON(settings), err, asJSON(v.settings))
				}
			}
			if after = next; next == "" {
				break
			}
		}
		known := 0
		for key := range s.services {
			if namespace == "" || key.Namespace == topic.Namespace {
				known++
			}
		}
		if count != known {
			return fmt.Errorf("%d services of %q, want %d", count, namespace, known)
		}
	}
	for _, key := range keys {
		got, err := w.reg.Instance(w.ctx, key)
		i := s.items[key]
		if i == nil {
			_, known := s.services[key.ServiceKey]
			want := rollcall.ErrNotFound.Error()
			if !known {
				want = w.absent()
			}
			if kind := kindOf(err); kind != want {
				return fmt.Errorf("instance %v: %s, want %s", key, kind, want)
			}
			continue
		}
		if err != nil || asJSON(got) != asJSON(w.whole(i)) {
			return fmt.Errorf("instance %v: %v\n%s\nwant\n%s", key, err, asJSON(got), asJSON(w.whole(i)))
		}
	}
	st, err := w.reg.Status(w.ctx)
	if err != nil || st.Revision != s.revision || st.Instances != len(s.items) || st.Services != len(s.services) || st.Settling != w.settling() {
		return fmt.Errorf("status %s, %v; want revision %d, %d instances, %d services, settling %v", asJSON(st), err, s.revision, len(s.items), len(s.services), w.settling())
	}
	return nil
}
