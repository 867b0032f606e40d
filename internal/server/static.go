package server

import (
	"context"
	"fmt"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/auth"
	"github.com/rollcall-registry/rollcall/internal/liveness"
)

// registerStatic brings the registry in line with the instances of the
// configuration: what stands there is registered, what no longer does goes.
func (s *Server) registerStatic(ctx context.Context) error {
	ctx = auth.With(ctx, auth.Principal{Name: "config", Door: liveness.ConfigDoor})
	wanted := make(map[rollcall.Key]bool, len(s.config.Static))
	for n := range s.config.Static {
		i := &s.config.Static[n]
		if i.Lease == (rollcall.Lease{}) {
			i.Lease.Mode = rollcall.LeaseNone
		}
		if i.Lease.Mode != rollcall.LeaseNone {
			return fmt.Errorf("services: %s/%s: an instance in the configuration is nobody's to renew; leave lease out", i.Service, i.ID)
		}
		if i.ID == "" {
			return fmt.Errorf("services: %s: id is required, so that it is the same instance after a restart", i.Service)
		}
		wanted[i.Key()] = true
	}
	for n, r := range s.registry.RegisterMany(ctx, s.config.Static) {
		if r.Err != nil {
			return fmt.Errorf("services: %s/%s: %w", s.config.Static[n].Service, s.config.Static[n].ID, r.Err)
		}
	}
	for after := ""; ; {
		page, next, err := s.registry.Instances(ctx, rollcall.InstanceFilter{Origin: liveness.ConfigDoor}, after, 1000)
		if err != nil {
			return err
		}
		for _, i := range page {
			if !wanted[i.Key()] {
				if err := s.registry.Deregister(ctx, i.Key(), 0); err != nil {
					return err
				}
			}
		}
		if after = next; next == "" {
			return nil
		}
	}
}
