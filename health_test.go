package rollcall_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

func TestJudge(t *testing.T) {
	f := func(slot rollcall.Slot, s rollcall.Status, why string) rollcall.Finding {
		return rollcall.Finding{Slot: slot, Status: s, Reason: why}
	}
	var (
		lapsed   = f(rollcall.SlotLease, rollcall.Unhealthy, "no renewal for 15s")
		suspect  = f(rollcall.SlotLease, rollcall.Suspect, "guard")
		drain    = f(rollcall.SlotDrain, rollcall.Draining, "")
		says     = f(rollcall.SlotStatus, rollcall.Degraded, "queue full")
		leaving  = f(rollcall.SlotStatus, rollcall.Draining, "update")
		failing  = f("check/db", rollcall.Unhealthy, "refused")
		passing  = f("check/web", rollcall.Healthy, "200 OK")
		starting = f("check/db", rollcall.Starting, "no result yet")
		callers  = f(rollcall.SlotCallers, rollcall.Suspect, "errors")
	)
	fine := &rollcall.Override{Status: rollcall.Healthy}
	out := &rollcall.Override{Status: rollcall.Unhealthy, Reason: "on fire"}
	for _, tt := range []struct {
		name     string
		findings []rollcall.Finding
		override *rollcall.Override
		want     rollcall.Status
		why      string
	}{
		{"nothing", nil, nil, rollcall.Healthy, ""},
		{"all is well", []rollcall.Finding{passing}, nil, rollcall.Healthy, ""},
		{"not judged is no finding", []rollcall.Finding{f("check/db", 0, "?")}, nil, rollcall.Healthy, ""},
		{"one finding", []rollcall.Finding{passing, says}, nil, rollcall.Degraded, "status: queue full"},
		{"without a reason", []rollcall.Finding{f(rollcall.SlotStatus, rollcall.Starting, "")}, nil, rollcall.Starting, "status"},
		{"the worst of two", []rollcall.Finding{failing, says}, nil, rollcall.Unhealthy, "check/db: refused"},
		{"suspect is worse than degraded", []rollcall.Finding{callers, says}, nil, rollcall.Suspect, "callers: errors"},
		{"starting is worse than suspect", []rollcall.Finding{callers, starting}, nil, rollcall.Starting, "check/db: no result yet"},
		{"the first of equals", []rollcall.Finding{failing, f("check/x", rollcall.Unhealthy, "x")}, nil, rollcall.Unhealthy, "check/db: refused"},
		{"drain before faults", []rollcall.Finding{failing, drain}, nil, rollcall.Draining, "drain"},
		{"draining by its own word", []rollcall.Finding{failing, leaving}, nil, rollcall.Draining, "status: update"},
		{"lapsed before drain", []rollcall.Finding{drain, lapsed}, nil, rollcall.Unhealthy, "lease: no renewal for 15s"},
		{"lapsed before checks", []rollcall.Finding{failing, lapsed}, nil, rollcall.Unhealthy, "lease: no renewal for 15s"},
		{"a suspect lease is a finding like others", []rollcall.Finding{failing, suspect}, nil, rollcall.Unhealthy, "check/db: refused"},
		{"override without a reason", []rollcall.Finding{lapsed, drain}, fine, rollcall.Healthy, "override"},
		{"override of health", []rollcall.Finding{passing}, out, rollcall.Unhealthy, "override: on fire"},
		{"override of nothing", nil, out, rollcall.Unhealthy, "override: on fire"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, why := rollcall.Judge(tt.findings, tt.override); got != tt.want || why != tt.why {
				t.Errorf("%v, %q; want %v, %q", got, why, tt.want, tt.why)
			}
			if tt.name == "the first of equals" {
				return
			}
			back := slices.Clone(tt.findings)
			slices.Reverse(back)
			if got, why := rollcall.Judge(back, tt.override); got != tt.want || why != tt.why {
				t.Errorf("in the other order %v, %q; want %v, %q", got, why, tt.want, tt.why)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	var routable []rollcall.Status
	for n, s := range rollcall.Statuses() {
		if n > 0 && s <= rollcall.Statuses()[n-1] {
			t.Errorf("%v is not in order", s)
		}
		b, err := s.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back rollcall.Status
		if err := back.UnmarshalText(b); err != nil || back != s {
			t.Errorf("%v reads back as %v, %v", s, back, err)
		}
		if s.Routable() {
			routable = append(routable, s)
		}
	}
	if want := []rollcall.Status{rollcall.Healthy, rollcall.Degraded}; !slices.Equal(routable, want) {
		t.Errorf("routable are %v, want %v", routable, want)
	}
	for _, s := range []string{"", "Healthy", "ok", "passing", strings.Repeat("x", 1<<16)} {
		if got, err := rollcall.ParseStatus(s); err == nil || got != 0 || len(err.Error()) > 200 {
			t.Errorf("%.20q is read as %v, %v", s, got, err)
		}
	}
	if got := rollcall.Status(99).String(); got != "status(99)" {
		t.Errorf("status 99 reads %q", got)
	}
}

func TestCheckSlot(t *testing.T) {
	if name, ok := rollcall.CheckSlot("lease").Check(); name != "lease" || !ok {
		t.Errorf("the slot of check lease is that of %q, %v", name, ok)
	}
	for _, s := range []rollcall.Slot{rollcall.SlotLease, rollcall.SlotStatus, rollcall.SlotDrain, rollcall.SlotCallers} {
		if name, ok := s.Check(); ok {
			t.Errorf("%s is taken for the slot of check %q", s, name)
		}
	}
}
