package registry

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

// mayRead asks whether a door may read that knows nobody by name, as DNS.
func (r *Registry) mayRead(key rollcall.ServiceKey) error {
	return r.may(auth.With(context.Background(), auth.Anonymous("dns")), auth.Read, rollcall.Key{ServiceKey: key})
}

// Item returns an instance as it is registered, whatever its health.
func (r *Registry) Item(key rollcall.Key) (*catalog.Item, error) {
	v, err := r.Items(key.ServiceKey)
	if err != nil {
		return nil, err
	}
	if i := v.Get(key.ID); i != nil {
		return i, nil
	}
	return nil, r.noInstance(key)
}

// Items returns all instances of a service, and its settings.
func (r *Registry) Items(key rollcall.ServiceKey) (*catalog.View, error) {
	if err := r.mayRead(key); err != nil {
		return nil, err
	}
	if v := r.catalog.View(key); v != nil {
		return v, nil
	}
	return nil, r.unknown(key)
}

// At returns up to most instances with an address, of all services; see [index.Table.At].
func (r *Registry) At(addr netip.Addr, most int) ([]*catalog.Item, error) {
	return r.across(func() []*catalog.Item { return r.index.At(addr, most) })
}

// On is [Registry.At] of the instances on a node.
func (r *Registry) On(node string, most int) ([]*catalog.Item, error) {
	return r.across(func() []*catalog.Item { return r.index.On(node, most) })
}

func (r *Registry) across(find func() []*catalog.Item) ([]*catalog.Item, error) {
	if err := r.mayRead(rollcall.ServiceKey{}); err != nil {
		return nil, err
	}
	if found := find(); len(found) > 0 {
		return found, nil
	}
	return nil, r.notYet("who is there")
}

// What the hub and the catalog say to those who keep answers: [watch.Hub.Told] says how.
func (r *Registry) Revision() rollcall.Revision                         { return r.hub.Revision() }
func (r *Registry) Told(service rollcall.ServiceKey, ttl time.Duration) { r.hub.Told(service, ttl) }
func (r *Registry) Keeping(service rollcall.ServiceKey) *watch.Keeping  { return r.hub.Keeping(service) }
func (r *Registry) Stamp(service rollcall.ServiceKey) *atomic.Uint64    { return r.catalog.Stamp(service) }
