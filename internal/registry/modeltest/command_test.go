package modeltest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/lease"
)

// do does what a command says and holds the outcome against the model.
func (w *world) do(c command) error {
	w.rng = rand.New(rand.NewPCG(c.Seed, 0))
	w.seen[c.Op]++
	var o outcome
	switch c.Op {
	case "register":
		o = w.register(c.Instances[0], c)
	case "register again":
		i := w.history.newest().items[c.Key]
		if i == nil {
			return nil
		}
		is := i.registered
		is.Origin = ""
		c.Match = ""
		o = w.register(is, c)
	case "register many":
		o = w.registerMany(c)
	case "update":
		o = w.update(c)
	case "renew":
		o = w.renew(c)
	case "renew many":
		o = w.renewMany(c)
	case "deregister":
		o = w.deregister(c)
	case "drain":
		o = w.drain(c)
	case "override":
		o = w.override(c)
	case "settings":
		o = w.settings(c)
	case "wait":
		return w.advance(time.Duration(c.For))
	case "forget":
		// What went longer ago is forgotten at the start, the rest by and by;
		// overrides an hour after services.
		later := []time.Duration{24 * time.Hour, 25 * time.Hour}[w.rng.IntN(2)]
		if w.rng.IntN(4) > 0 {
			later -= 5 * time.Minute
		}
		if err := w.reopen(false, later); err != nil {
			return err
		}
		return w.advance(603 * time.Second)
	case "checkpoint":
		if w.imageless {
			return nil
		}
		return w.checkpoint()
	case "replay":
		if err := w.checkLists([]rollcall.Key{c.Key}); err != nil {
			return err
		}
		return w.replay()
	case "reopen":
		return w.reopen(c.On, time.Duration(c.For))
	case "watcher reads":
		return w.watcherReads(c.Number)
	case "watcher reconnects":
		return w.watchers[w.rng.IntN(len(w.watchers))].reconnect(w)
	case "resume":
		return w.resumes(c.Number)
	default:
		return fmt.Errorf("no such command: %s", c)
	}
	if err := w.settle(o.wants, nil, o.soft); err != nil {
		return err
	}
	if o.got != o.want {
		return fmt.Errorf("answered with %s, want %s", o.got, o.want)
	}
	w.seen[c.Op+": "+strings.SplitN(o.want, " ", 2)[0]]++
	if o.shows == nil {
		return nil
	}
	i := w.history.newest().items[c.key()]
	if i == nil {
		return nil // a verdict removed it at once
	}
	got, want := *o.shows, w.whole(i)
	got.Health, want.Health = nil, nil // a verdict may come between
	if asJSON(got) != asJSON(want) {
		return fmt.Errorf("shown as\n%s\nwant\n%s", asJSON(got), asJSON(want))
	}
	return nil
}

func (c *command) key() rollcall.Key {
	if c.Op == "register" {
		return c.Instances[0].Key()
	}
	return c.Key
}

// outcome is what a command was answered with and should have been.
type outcome struct {
	got, want string
	wants     []string           // changes in the log
	soft      bool               // something else that readers see changed
	shows     *rollcall.Instance // what was returned
}

// ifMatch returns the revision that a command asks for, and whether it is the
// instance's.
func (w *world) ifMatch(c *command, key rollcall.Key) (r rollcall.Revision, holds bool) {
	i := w.history.newest().items[key]
	switch {
	case c.Match == "":
		return 0, true
	case c.Match == "current" && i != nil:
		return i.revision, true
	case i != nil:
		return i.revision + 1, false
	}
	return 1, false
}

// call calls the door and returns how the answer is classed.
func (w *world) call(method string, key rollcall.Key, below string, match rollcall.Revision, body any, into any) string {
	h := http.Header{}
	if match != 0 {
		h.Set("If-Match", fmt.Sprintf(`"%d"`, match))
	}
	var b []byte
	if body != nil {
		b = []byte(asJSON(body))
	}
	target := "/api/v1/services/" + url.PathEscape(key.Service) + "/instances/" + url.PathEscape(key.ID) + below + "?namespace=" + key.Namespace
	rec := w.get(method, target, b, h)
	if rec.Code >= 300 {
		var problem struct{ Title string }
		if err := json.Unmarshal(rec.Body.Bytes(), &problem); err != nil {
			return fmt.Sprintf("%d %s", rec.Code, rec.Body)
		}
		return problem.Title
	}
	if into != nil {
		if err := json.Unmarshal(rec.Body.Bytes(), into); err != nil {
			return fmt.Sprintf("%v in %s", err, rec.Body)
		}
	}
	return "ok"
}

// prepared returns a registration as it is to be logged, or why it is refused.
func (w *world) prepared(i rollcall.Instance) (rollcall.Instance, string) {
	i.Origin = "http"
	i.Normalize()
	if kind := acceptable(&i); kind != "ok" {
		return i, kind
	}
	if v, ok := w.history.newest().services[i.Key().ServiceKey]; ok {
		i.Service = v.name
	}
	return i, "ok"
}

func acceptable(i *rollcall.Instance) string {
	if err := i.Validate(rollcall.DefaultLimits()); err != nil {
		return kindOf(err)
	}
	if i.Lease.Mode == rollcall.LeaseSession {
		return rollcall.ErrInvalid.Error()
	}
	return "ok"
}

// renews reports whether a registration says nothing new of an instance, about
// which nothing is said but good.
func renews(i *item, is *rollcall.Instance) bool {
	if i == nil || string(i.registered.AppendJSON(nil)) != string(is.AppendJSON(nil)) {
		return false
	}
	return !slices.ContainsFunc(i.findings, func(f rollcall.Finding) bool { _, isCheck := f.Slot.Check(); return !isCheck })
}

func (w *world) register(i rollcall.Instance, c command) (o outcome) {
	key := i.Key()
	old := w.history.newest().items[key]
	match, holds := w.ifMatch(&c, key)
	is, kind := w.prepared(i)
	created := old == nil
	switch {
	case kind != "ok":
	case !holds:
		kind = rollcall.ErrPrecondition.Error()
	case renews(old, &is):
		w.soft.renew(key, time.Now())
		created, o.soft = false, true
		w.seen["renewed by registering"]++
	default:
		o.wants = []string{wantPut(is, 0, "http")}
	}
	if o.want = kind; kind == "ok" {
		o.want = fmt.Sprint("ok ", created)
	}
	var shown rollcall.Instance
	var err error
	if c.Door {
		o.got = w.call("PUT", key, "", match, i, &shown)
		if o.want != kind {
			o.want = "ok"
		}
	} else {
		var created bool
		shown, created, err = w.reg.Register(w.ctx, i, match)
		if o.got = kindOf(err); err == nil {
			o.got = fmt.Sprint("ok ", created)
		}
	}
	if o.got == o.want && kind == "ok" && shown.Key() == c.key() {
		o.shows = &shown
	}
	return o
}

func (w *world) registerMany(c command) (o outcome) {
	s := w.history.newest()
	seen := map[rollcall.Key]bool{}
	if c.On {
		for _, i := range s.of(c.Key.ServiceKey, anything) {
			again := func(o rollcall.Instance) bool { return o.Key() == i.key }
			if is := i.registered; !slices.ContainsFunc(c.Instances, again) {
				is.Origin = ""
				c.Instances = append(slices.Clip(c.Instances), is)
			}
		}
	}
	var want []string
	for n := range c.Instances {
		is, kind := w.prepared(c.Instances[n])
		key := is.Key()
		old := s.items[key]
		switch {
		case kind != "ok":
			want = append(want, fmt.Sprint(key, " ", kind))
		case !seen[key] && renews(old, &is):
			w.soft.renew(key, time.Now())
			o.soft = true
			want = append(want, fmt.Sprint(key, " false at ", old.revision))
		default:
			want = append(want, fmt.Sprint(key, " ", old == nil && !seen[key], " at ", s.revision+1))
			o.wants = append(o.wants, wantPut(is, 0, "http"))
			seen[key] = true
		}
	}
	var got []string
	for _, r := range w.reg.RegisterMany(w.ctx, slices.Clone(c.Instances)) {
		if r.Err != nil {
			got = append(got, fmt.Sprint(r.Key, " ", kindOf(r.Err)))
		} else {
			got = append(got, fmt.Sprint(r.Key, " ", r.Created, " at ", r.Revision))
		}
	}
	o.got, o.want = "ok "+strings.Join(got, ", "), "ok "+strings.Join(want, ", ")
	return o
}

// mergePatch is RFC 7396, as it stands there.
func mergePatch(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for name, value := range p {
		if value == nil {
			delete(t, name)
		} else {
			t[name] = mergePatch(t[name], value)
		}
	}
	return t
}

func patched(i rollcall.Instance, patch map[string]any) rollcall.Instance {
	var doc any
	if err := json.Unmarshal([]byte(asJSON(i)), &doc); err != nil {
		panic(err)
	}
	var n rollcall.Instance
	if err := json.Unmarshal([]byte(asJSON(mergePatch(doc, maps.Clone(patch)))), &n); err != nil {
		panic(fmt.Sprintf("%v in %v", err, patch))
	}
	return n
}

func (w *world) update(c command) (o outcome) {
	match, holds := w.ifMatch(&c, c.Key)
	old := w.history.newest().items[c.Key]
	o.want = "ok"
	switch {
	case old == nil:
		o.want = rollcall.ErrNotFound.Error()
	case !holds:
		o.want = rollcall.ErrPrecondition.Error()
	default:
		at := w.soft.position(old)
		is := old.registered
		is.Position = at
		is = patched(is, c.Patch)
		is.Normalize()
		is.Service, is.Origin = old.registered.Service, old.registered.Origin
		if o.want = acceptable(&is); o.want != "ok" {
			break
		}
		without := func(i rollcall.Instance) string { i.Position = nil; return asJSON(i) }
		same := at == is.Position || at != nil && is.Position != nil && *at == *is.Position
		switch {
		case without(is) != without(old.registered):
			o.wants = []string{wantPut(is, old.incarnation, "http")}
		case same:
		case is.Position != nil:
			w.soft.move(c.Key, *is.Position)
			o.soft = true
			w.seen["moved"]++
		case old.registered.Position == nil:
			delete(w.soft.positions, c.Key)
			delete(w.soft.moved, c.Key)
			o.soft = true
		default:
			o.wants = []string{wantPut(is, old.incarnation, "http")}
		}
	}
	var shown rollcall.Instance
	if c.Door {
		o.got = w.call("PATCH", c.Key, "", match, c.Patch, &shown)
	} else {
		var err error
		shown, err = w.reg.Update(w.ctx, c.Key, match, func(i *rollcall.Instance) error { *i = patched(*i, c.Patch); return nil })
		o.got = kindOf(err)
	}
	if o.got == "ok" {
		o.shows = &shown
	}
	return o
}

func (w *world) renew(c command) (o outcome) {
	i := w.history.newest().items[c.Key]
	switch rep := c.Report; {
	case i == nil:
		o.want = rollcall.ErrNotFound.Error()
	case rep != nil && !reportable(i, rep):
		o.want = rollcall.ErrInvalid.Error()
	default:
		w.soft.renew(c.Key, time.Now())
		if rep != nil {
			w.soft.report(c.Key, i, rep, time.Now())
		}
		o.want, o.soft = fmt.Sprint("ok ", i.registered.Lease.TTL, " ", i.revision), true
	}
	if c.Door {
		var got rollcall.Renewal
		var body any
		if c.Report != nil {
			body = c.Report
		}
		if o.got = w.call("POST", c.Key, "/heartbeat", 0, body, &got); o.got == "ok" {
			o.got = fmt.Sprint("ok ", got.TTL, " ", got.Revision)
		}
	} else {
		got, err := w.reg.Renew(w.ctx, c.Key, c.Report)
		if o.got = kindOf(err); err == nil {
			o.got = fmt.Sprint("ok ", got.TTL, " ", got.Revision)
		}
	}
	if i == nil {
		w.soft.foreign = true
	}
	return o
}

func reportable(i *item, rep *rollcall.Report) bool {
	for name := range rep.Checks {
		if !slices.ContainsFunc(i.registered.Checks, func(c rollcall.Check) bool { return c.Name == name }) {
			return false
		}
	}
	return rep.Status != rollcall.Suspect && softly(rep.Load, rep.Position)
}

func softly(l *rollcall.Load, p *rollcall.Position) bool {
	return (l == nil || l.RPS >= 0) && (p == nil || p.Lat <= 90 && p.Lon <= 180)
}

func (w *world) renewMany(c command) (o outcome) {
	s := w.history.newest()
	valid := true
	for _, r := range c.Renews {
		valid = valid && softly(r.Load, r.Position)
	}
	var unknown []rollcall.Key
	renewed := 0
	if o.want = rollcall.ErrInvalid.Error(); valid {
		for _, r := range c.Renews {
			i := s.items[r.Key]
			if i == nil {
				unknown = append(unknown, r.Key)
				w.soft.foreign = true
				continue
			}
			renewed++
			w.soft.renew(r.Key, time.Now())
			w.soft.report(r.Key, i, &rollcall.Report{Load: r.Load, Position: r.Position}, time.Now())
		}
		o.want, o.soft = fmt.Sprint("ok ", renewed, unknown), true
	}
	renewed, unknown, err := w.reg.RenewMany(w.ctx, c.Renews)
	if o.got = kindOf(err); err == nil {
		o.got = fmt.Sprint("ok ", renewed, unknown)
	}
	return o
}

func (w *world) deregister(c command) (o outcome) {
	match, holds := w.ifMatch(&c, c.Key)
	switch old := w.history.newest().items[c.Key]; {
	case !holds:
		o.want = rollcall.ErrPrecondition.Error()
	case old != nil:
		o.wants = []string{wantRemoval(c.Key, "http", "deregistered")}
		fallthrough
	default:
		o.want = "ok"
	}
	if c.Door {
		o.got = w.call("DELETE", c.Key, "", match, nil, nil)
	} else {
		o.got = kindOf(w.reg.Deregister(w.ctx, c.Key, match))
	}
	return o
}

func (w *world) drain(c command) (o outcome) {
	o.want = "ok"
	if i := w.history.newest().items[c.Key]; i == nil {
		o.want = rollcall.ErrNotFound.Error()
	} else if _, draining := i.finding(rollcall.SlotDrain); draining != c.On {
		f := rollcall.Finding{Slot: rollcall.SlotDrain, Status: rollcall.Healthy}
		if c.On {
			f.Status = rollcall.Draining
		}
		o.wants = []string{wantHealth(c.Key, f)}
	}
	_, err := w.reg.Drain(w.ctx, c.Key, c.On, 0)
	o.got = kindOf(err)
	return o
}

func (w *world) override(c command) (o outcome) {
	s := w.history.newest()
	now := time.Now().UTC().Round(0)
	ov := c.Override
	if ov != nil && c.For != 0 {
		copied := *ov
		copied.Expires = new(now.Add(time.Duration(c.For)))
		ov = &copied
	}
	i := s.items[c.Key]
	_, orphaned := s.services[c.Key.ServiceKey].orphans[c.Key.ID]
	o.want = "ok"
	switch {
	case ov == nil:
		if orphaned || i != nil && i.override != nil {
			o.wants = []string{wantOverride(c.Key, nil, "http")}
		}
	case i == nil:
		o.want = rollcall.ErrNotFound.Error()
	case ov.Status == 0 || ov.Expires != nil && ov.Expires.Before(now):
		o.want = rollcall.ErrInvalid.Error()
	default:
		want := *ov
		want.By, want.Since = "anonymous", now
		o.wants = []string{wantOverride(c.Key, &want, "http")}
	}
	o.got = kindOf(w.reg.Override(w.ctx, c.Key, ov))
	return o
}

func (w *world) settings(c command) (o outcome) {
	_, known := w.history.newest().services[c.Key.ServiceKey]
	o.want = "ok"
	switch {
	case c.Settings != nil && *c.Settings.Panic > 1:
		o.want = rollcall.ErrInvalid.Error()
	case c.Settings != nil || known:
		o.wants = []string{wantSettings(c.Key.ServiceKey, c.Settings)}
	}
	o.got = kindOf(w.reg.SetSettings(w.ctx, c.Key.ServiceKey, c.Settings))
	return o
}

// reopen stops the process, if it is to be after a checkpoint, and begins
// another one on the same log.
func (w *world) reopen(checkpoint bool, later time.Duration) error {
	if checkpoint && !w.imageless {
		if err := w.checkpoint(); err != nil {
			return err
		}
	}
	if err := w.end(); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	w.hangUp()
	for _, c := range w.watchers {
		c.close()
	}
	if err := w.log.close(); err != nil {
		return err
	}
	time.Sleep(later - later%lease.Tick)
	if err := w.log.open(); err != nil {
		return err
	}
	if err := w.start(); err != nil {
		return err
	}
	for _, c := range w.watchers {
		if err := c.reconnect(w); err != nil {
			return err
		}
	}
	w.listenAll()
	return w.settle(nil, nil, true)
}

func (w *world) listenAll() {
	w.listen(rollcall.Query{Service: "payments"})
	if w.settling() {
		return // it would refuse what it does not know
	}
	w.listen(rollcall.Query{Health: "any"})
}

func (w *world) watcherReads(batches int) error {
	c := w.watchers[w.rng.IntN(len(w.watchers))]
	for n := 0; c.slow && n < batches; n++ {
		if more, err := c.read(w); err != nil || !more {
			return err
		}
	}
	return nil
}

// resumes resumes from some revision: one that was, of this log or of another,
// or one that is yet to come.
func (w *world) resumes(n int) error {
	kind := w.rng.IntN(len(kinds))
	newest := w.history.newest().revision
	after := rollcall.Token{Log: w.log.Status().ID, Revision: rollcall.Revision(w.rng.Uint64N(uint64(newest) + 1))}
	switch {
	case n < 3:
		after.Log = "00000000deadbeef"
	case n < 6:
		after.Revision = newest + 10
	case n < 50: // not long ago
		after.Revision = newest - rollcall.Revision(w.rng.Uint64N(min(uint64(newest), 10)+1))
	}
	if err := w.resumeFrom(kind, after); err != nil {
		return err
	}
	synctest.Wait()
	return nil
}
