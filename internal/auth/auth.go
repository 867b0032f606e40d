// Package auth turns credentials into principals and decides what a principal
// may do. So far there is one policy: whoever reaches the server, which without
// --insecure is this machine alone, may do everything. Every use case asks it
// all the same, so that a policy has one place to go.
package auth

import (
	"context"

	"github.com/rollcall-registry/rollcall"
)

// Principal is who asks, and through which door.
type Principal struct {
	Name string // "anonymous" without credentials
	Door string // "http", "config", ...
}

// Anonymous returns the principal of a door's request without credentials.
func Anonymous(door string) Principal { return Principal{Name: "anonymous", Door: door} }

// Action is what a principal wants to do.
type Action string

// The actions, by what they touch.
const (
	Read     Action = "read"     // resolve, list, watch a service
	Register Action = "register" // register, update, renew, drain, deregister an instance
	Hold     Action = "hold"     // open a session; what is registered in it is asked for by itself
	Report   Action = "report"   // what a caller saw of a service's instances
	Operate  Action = "operate"  // override, settings, named queries, end a guard
	Inspect  Action = "inspect"  // status, events, guards, watchers, why
	Export   Action = "export"   // backup
)

// Authorize returns nil if p may do action to resource, else an error that
// matches [rollcall.ErrForbidden]. A resource without an ID is a service, without
// a service a namespace, and the zero one is everything.
func Authorize(p Principal, action Action, resource rollcall.Key) error { return nil }

type contextKey struct{}

// With returns ctx with p as its principal.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// From returns ctx's principal, the server itself if there is none.
func From(ctx context.Context) Principal {
	if p, ok := ctx.Value(contextKey{}).(Principal); ok {
		return p
	}
	return Principal{Name: "rollcall", Door: "internal"}
}
