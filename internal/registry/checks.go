package registry

import (
	"context"
	"fmt"
	"slices"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/check"
	"github.com/rollcall-registry/rollcall/internal/lease"
)

// ConfigDoor is the origin of instances that stand in the server's own
// configuration, whose author may have commands run.
const ConfigDoor = "config"

// probed reports whether there are checks among cs that the registry makes.
func probed(cs []lease.Check) bool {
	return slices.ContainsFunc(cs, func(c lease.Check) bool { return c.Probed() })
}

// runChecks makes the checks once the log was read: till then it is not known
// which there are.
func (r *Registry) runChecks(ctx context.Context) error {
	if err := r.WaitSynced(ctx); err != nil {
		return err
	}
	return r.checks.Run(ctx)
}

// watchChecks has an instance's checks made from now on as it was registered.
func (r *Registry) watchChecks(i *catalog.Item) { r.checks.Set(i.Key(), target(i)) }

// target is an instance as those who probe it need to know it.
func target(i *catalog.Item) check.Target {
	inst := i.Instance()
	return check.Target{
		Incarnation: inst.Incarnation, Address: inst.Address, Ports: inst.Ports, Checks: inst.Checks, Vouched: inst.Vouched, Configured: inst.Origin == ConfigDoor,
	}
}

// checked takes in what a check that the registry makes has found. What comes late,
// of a registration that was replaced meanwhile, does not count.
func (r *Registry) checked(c check.Result) {
	f := rollcall.Finding{Slot: rollcall.CheckSlot(c.Check), Status: c.Status, Reason: c.Reason, Hard: c.Hard, Since: c.At}
	if _, changed := r.leases.ReportOf(c.Key, c.Incarnation, f); changed {
		r.judge.Anew(c.Key)
	}
}

// probe looks whether somebody is at the address of an instance that fell silent.
func (r *Registry) probe(ctx context.Context, i *catalog.Item) (refused bool, cause string) {
	if r.o.Probe != nil {
		return r.o.Probe(ctx, i)
	}
	out := r.checks.ProbeOnce(ctx, target(i))
	return out.Hard, out.Output
}

// mayRun refuses checks that run commands, unless the server's own configuration
// asks for them.
func (r *Registry) mayRun(i *rollcall.Instance) error {
	for n, c := range i.Checks {
		if c.Type == rollcall.CheckExec && !(i.Origin == ConfigDoor && r.o.Exec) {
			return &rollcall.Error{
				Kind: rollcall.ErrForbidden, Field: fmt.Sprintf("checks[%d].type", n),
				Detail: "exec runs a command on the registry's own machine: only instances in its configuration file may ask for that, and only where exec-checks is on",
			}
		}
	}
	return nil
}
