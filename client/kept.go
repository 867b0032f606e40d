package client

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
)

// kept is what a registration knows of its instance and has yet to say. It
// does no I/O.
type kept struct {
	want     rollcall.Instance  // what is to be registered
	accepted *rollcall.Instance // what last was
	current  bool               // want is registered, as far as is known
	lost     bool               // the registry said that nothing is
	closed   bool
	draining bool
	instead  bool // the lease is of mode ttl instead of session

	said   rollcall.Report // what the registry has heard and still holds
	unsaid rollcall.Report // what it has not heard

	ttl    time.Duration // as the registry last said; 0 before
	failed retry.Backoff
}

// period returns the time between renewals.
func (k *kept) period() time.Duration {
	ttl := k.ttl
	if ttl == 0 {
		ttl = time.Duration(k.want.Lease.TTL)
	}
	if ttl == 0 {
		ttl = rollcall.DefaultTTL
	}
	return max(ttl, rollcall.MinTTL) / 3
}

// patience returns for how long an attempt in the background may hang. A few
// heartbeats that do must not cost the lease: there is time for five of them. What
// is to be registered may have to wait for a registry that is busy with others.
func (k *kept) patience() time.Duration {
	if k.current {
		return max(k.period()/5, time.Second)
	}
	return max(k.period(), time.Second)
}

// plan returns how long to wait from the beginning of an attempt, and whether there is to be
// another at all.
func (k *kept) plan(err error) (wait time.Duration, ever bool) {
	if err != nil {
		period := k.period()
		k.failed.Least, k.failed.Most = min(period/10, 500*time.Millisecond), min(period, 10*time.Second)
		return k.failed.Next(err), true
	}
	k.failed.Reset()
	mode := k.want.Lease.Mode
	return retry.Jitter(k.period(), 0.2), mode != rollcall.LeaseNone && mode != rollcall.LeaseSession
}

// replace sets what is to be registered.
func (k *kept) replace(inst rollcall.Instance) error {
	if inst.Namespace == "" {
		inst.Namespace = k.want.Namespace
	}
	if inst.Service == "" {
		inst.Service = k.want.Service
	}
	if inst.ID == "" {
		inst.ID = k.want.ID
	}
	if inst.Key() != k.want.Key() {
		return rollcall.Invalid("id", fmt.Sprintf("is that of %s, but this registration keeps %s", inst.Key(), k.want.Key()))
	}
	is := k.want.Lease.Mode
	if mode := &inst.Lease.Mode; *mode == "" && is == rollcall.LeaseSession || *mode == rollcall.LeaseSession && k.instead {
		*mode = is
	}
	if mode := inst.Lease.Mode; mode != is && (mode == rollcall.LeaseSession || is == rollcall.LeaseSession) {
		return rollcall.Invalid("lease.mode", "cannot become session, or cease to be that, while the lease is kept; close this registration and make another")
	}
	var err error
	k.want, err = wanted(inst)
	k.current = false
	k.unsaid.Position, k.said.Position = nil, nil // that of inst is newer
	return err
}

// registration returns what to register: what is wanted, where it now is.
func (k *kept) registration() rollcall.Instance {
	inst := k.want
	for _, p := range []*rollcall.Position{k.said.Position, k.unsaid.Position} {
		if p != nil {
			inst.Position = p
		}
	}
	return inst
}

// registered notes that the registry has what is wanted.
func (k *kept) registered(ttl time.Duration) {
	want := k.want
	k.accepted, k.current, k.lost, k.ttl = &want, true, false, ttl
}

// forgotten notes that the registry does not know the instance, and so nothing
// that was said of it.
func (k *kept) forgotten() {
	k.current, k.lost = false, true
	k.said, k.unsaid = rollcall.Report{}, merge(k.said, k.unsaid)
}

// revert gives up what the registry found fault with, if there is something
// else to register.
func (k *kept) revert() {
	if k.accepted != nil {
		k.want, k.current = *k.accepted, !k.lost
	}
}

// heard notes that the registry has taken what was unsaid.
func (k *kept) heard(ttl time.Duration) {
	k.said, k.unsaid = merge(k.said, k.unsaid), rollcall.Report{}
	if ttl > 0 {
		k.ttl = ttl
	}
}

// faulty reports whether an error blames what was sent, rather than who sent
// it or when.
func faulty(err error) bool {
	return errors.Is(err, rollcall.ErrInvalid) || errors.Is(err, rollcall.ErrTooLarge) || errors.Is(err, rollcall.ErrUnsupported)
}

// merge returns what holds when next was said after r.
func merge(r, next rollcall.Report) rollcall.Report {
	if next.Status != 0 {
		r.Status, r.Note = next.Status, next.Note
	} else if next.Note != "" {
		r.Note = next.Note
	}
	if len(next.Checks) > 0 {
		checks := make(map[string]rollcall.CheckReport, len(r.Checks)+len(next.Checks))
		maps.Copy(checks, r.Checks)
		maps.Copy(checks, next.Checks)
		r.Checks = checks
	}
	if next.Load != nil {
		r.Load = next.Load
	}
	if next.Position != nil {
		r.Position = next.Position
	}
	return r
}
