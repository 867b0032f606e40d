package registry

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
)

// mostCaller is how many bytes a caller's name may have.
const mostCaller = 256

// callerOf returns the name that a watcher goes by, for longer than its request.
func callerOf(q *rollcall.Query) (string, error) {
	if len(q.Caller) > mostCaller {
		return "", rollcall.Invalid("caller", fmt.Sprintf("is %d bytes long; at most %d are allowed", len(q.Caller), mostCaller))
	}
	return strings.Clone(q.Caller), nil
}

// reach waits until all who are told of a service have it as of a revision, or
// for as long as wait says.
func (r *Registry) reach(ctx context.Context, key rollcall.ServiceKey, rev rollcall.Revision, wait time.Duration) (rollcall.Barrier, error) {
	if err := r.applied.Wait(ctx, rev); err != nil { // by then the watchers are being told
		return rollcall.Barrier{}, err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	b := r.hub.Barrier(waiting, key, rev)
	return b, ctx.Err()
}

// Seen returns when all who are told of a service have it as of a revision, or
// after wait, and how many they are.
func (r *Registry) Seen(ctx context.Context, key rollcall.ServiceKey, rev rollcall.Revision, wait time.Duration) (rollcall.Barrier, error) {
	if err := authorize(ctx, auth.Read, rollcall.Key{ServiceKey: key}); err != nil {
		return rollcall.Barrier{}, err
	}
	return r.reach(ctx, key, rev, wait)
}

// Watchers lists those who are told of a service, which need not be known. Their
// names are enough to acknowledge for them.
func (r *Registry) Watchers(ctx context.Context, key rollcall.ServiceKey) ([]rollcall.Watcher, error) {
	if err := authorize(ctx, auth.Inspect, rollcall.Key{ServiceKey: key}); err != nil {
		return nil, err
	}
	if err := key.Validate(); err != nil {
		return nil, err
	}
	if err := r.synced(); err != nil {
		return nil, err
	}
	return r.hub.Watchers(key), nil
}

// Ack takes in that a watcher has all that it was told up to a revision. Whoever
// knows its name may say so.
func (r *Registry) Ack(ctx context.Context, subscription string, rev rollcall.Revision) error {
	if err := authorize(ctx, auth.Read, rollcall.Key{}); err != nil {
		return err
	}
	return r.hub.Ack(subscription, rev)
}
