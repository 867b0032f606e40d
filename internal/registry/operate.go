package registry

import (
	"context"
	"strings"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
)

// Override sets an operator's verdict on an instance, which stands until it is
// taken back (nil) or expires.
func (r *Registry) Override(ctx context.Context, key rollcall.Key, o *rollcall.Override) error {
	if err := r.may(ctx, auth.Operate, key); err != nil {
		return err
	}
	if err := key.ServiceKey.Validate(); err != nil {
		return err
	}
	if err := rollcall.CheckID("id", key.ID); err != nil {
		return err
	}
	if v := r.catalog.View(key.ServiceKey); o == nil && (v == nil || v.Override(key.ID) == nil) {
		return nil
	}
	why := "taken back"
	if o != nil {
		if r.catalog.Item(key) == nil {
			return r.noInstance(key)
		}
		if err := o.Validate(r.o.Limits, r.o.Wall()); err != nil {
			return err
		}
		o = &rollcall.Override{Status: o.Status, Reason: strings.Clone(o.Reason), Expires: o.Expires, By: auth.From(ctx).Name, Since: r.now()}
		why = o.Reason
	}
	_, err := r.append(ctx, rollcall.Batch{
		Changes: []rollcall.Change{r.change(ctx, rollcall.OverridePut{Key: key, Override: o}, why)},
	})
	return err
}

// SetSettings replaces a service's settings; nil clears them.
func (r *Registry) SetSettings(ctx context.Context, key rollcall.ServiceKey, s *rollcall.Settings) error {
	if err := r.may(ctx, auth.Operate, rollcall.Key{ServiceKey: key}); err != nil {
		return err
	}
	if err := key.Validate(); err != nil {
		return err
	}
	if s != nil {
		if err := s.Validate(); err != nil {
			return err
		}
	} else if r.catalog.View(key) == nil {
		return nil
	}
	_, err := r.append(ctx, rollcall.Batch{
		Changes: []rollcall.Change{r.change(ctx, rollcall.SettingsPut{Service: key, Settings: s}, "")},
	})
	return err
}

// Guards returns the guards that are on, that on everything first.
func (r *Registry) Guards(ctx context.Context) ([]rollcall.Guard, error) {
	if err := r.may(ctx, auth.Inspect, rollcall.Key{}); err != nil {
		return nil, err
	}
	return r.live.Judge.Guards(), nil
}

// EndGuard ends the guard on a service, or with the zero key that on everything:
// whom it held is marked. It reports whether there was one.
func (r *Registry) EndGuard(ctx context.Context, key rollcall.ServiceKey) (bool, error) {
	if err := r.may(ctx, auth.Operate, rollcall.Key{ServiceKey: key}); err != nil {
		return false, err
	}
	p := auth.From(ctx)
	return r.live.Judge.EndGuard(key, p.Name, p.Door), nil
}
