package record

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

var update = flag.Bool("update", false, "add what is missing to testdata/format1.txt; what is there stays")

type golden struct {
	name   string
	change rollcall.Change
}

// goldens are one change of each kind, in each of its forms.
func goldens() []golden {
	at := time.Unix(1_700_000_000, 123).UTC()
	i := typical()
	i.Service, i.Weight, i.Capacity, i.Warmup = "Payments", new(uint16(0)), 200, rollcall.Duration(30*time.Second)
	i.Capabilities["engine"] = rollcall.String("v8")
	i.Checks = append(i.Checks, rollcall.Check{
		Name: "web", Type: rollcall.CheckHTTP, Target: "/healthz", Interval: 5e9, Timeout: 1e9, Rise: 2, Fall: 3, DeregisterAfter: 3600e9,
	})
	key := i.Key()
	c := func(body rollcall.Body) rollcall.Change {
		return rollcall.Change{At: at, By: "anonymous", Via: "http", Why: "because", Revision: 812, Body: body}
	}
	return []golden{
		{"instance", c(rollcall.InstancePut{Key: key, Record: Pack(&i)})},
		{"instance-updated", c(rollcall.InstancePut{Key: key, Incarnation: 700, RegisteredAt: at.Add(-time.Hour), Record: Pack(&i)})},
		{"instance-removed", c(rollcall.InstanceRemove{Key: key})},
		{"health", c(rollcall.HealthPut{Service: key.ServiceKey, Slot: rollcall.SlotLease, Status: rollcall.Unhealthy, Reason: "no renewal for 15s", IDs: []string{"a", "b"}})},
		{"override", c(rollcall.OverridePut{Key: key, Override: &rollcall.Override{Status: rollcall.Draining, Reason: "by hand", Expires: new(at.Add(time.Hour)), By: "op", Since: at}})},
		{"override-cleared", c(rollcall.OverridePut{Key: key})},
		{"settings", c(rollcall.SettingsPut{Service: key.ServiceKey, Settings: &rollcall.Settings{DNSTTL: new(rollcall.Duration(0)), GuardShare: new(0.25), Panic: new(0.0), PositionRate: new(50.0)}})},
		{"settings-empty", c(rollcall.SettingsPut{Service: key.ServiceKey, Settings: &rollcall.Settings{}})},
		{"settings-cleared", c(rollcall.SettingsPut{Service: key.ServiceKey})},
		{"unknown", c(rollcall.Unknown{Kind: 6, Key: "default\x00payments\x00\x00more", Data: "\x08\x01"})},
		{"unknown-cleared", c(rollcall.Unknown{Kind: 6, Key: ""})},
	}
}

// later are changes that came after the state file was written, and so are not
// in it.
func later() []golden {
	at := time.Unix(1_700_000_000, 123).UTC()
	service := rollcall.NewServiceKey("", "payments")
	c := func(body rollcall.Body) rollcall.Change {
		return rollcall.Change{At: at, By: "rollcall", Via: "lease", Revision: 812, Body: body}
	}
	return []golden{
		{"health-hard", c(rollcall.HealthPut{Service: service, Slot: rollcall.SlotLease, Status: rollcall.Unhealthy, Reason: "session broke", Hard: true, IDs: []string{"a"}})},
		{"guard", c(rollcall.GuardPut{Service: service, Guard: &rollcall.Guard{Namespace: "default", Service: "payments", Since: at, Reason: "3 of 4 silent"}})},
		{"guard-everything", c(rollcall.GuardPut{Guard: &rollcall.Guard{Since: at}})},
		{"guard-ended", c(rollcall.GuardPut{Service: service})},
		{"query", c(rollcall.QueryPut{Name: service, Query: &rollcall.NamedQuery{
			Namespace: "default", Name: "Payments", Service: "payments", Filter: "cap.ok", Near: "zone:eu-west/a", MinRoutable: 2, Limit: 10, SubsetSize: 20,
			Split:    []rollcall.Split{{Percent: 100, QueryTarget: rollcall.QueryTarget{Namespace: "default", Service: "payments", Filter: "meta.a == 'b'"}}},
			Failover: []rollcall.QueryTarget{{Namespace: "eu", Service: "payments", Near: "x"}},
		}})},
		{"query-removed", c(rollcall.QueryPut{Name: service})},
		{"settings-named", c(rollcall.SettingsPut{Service: service, Name: "Payments"})},
		{"instance-vouched", c(rollcall.InstancePut{Key: rollcall.NewKey("", "payments", "p-1"), Record: Pack(&rollcall.Instance{Address: "127.0.0.1", Vouched: true})})},
	}
}

func goldenChanges() (cs []rollcall.Change) {
	for _, g := range goldens() {
		cs = append(cs, g.change)
	}
	return cs
}

// TestGolden compares with bytes that were written once and for all: what is in
// a log must be read by every later version.
func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "format1.txt")
	file, err := os.ReadFile(path)
	if err != nil && !*update {
		t.Fatal(err)
	}
	known := map[string][]byte{}
	for s := bufio.NewScanner(bytes.NewReader(file)); s.Scan(); {
		if name, text, ok := strings.Cut(s.Text(), " "); ok && name != "#" {
			if known[name], err = hex.DecodeString(text); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	check := func(name string, got []byte) {
		want, ok := known[name]
		if !ok && *update {
			file = fmt.Appendf(file, "%s %x\n", name, got)
			want, known[name] = got, got
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is written as\n%x, and was\n%x", name, got, want)
		}
	}
	for _, g := range append(goldens(), later()...) {
		changes := []rollcall.Change{g.change}
		b := AppendEntry(nil, 812, 3, changes)
		check(g.name, b)
		e, fence, err := ParseEntry(string(known[g.name]))
		if err != nil || fence != 3 {
			t.Errorf("%s: fence %d, %v", g.name, fence, err)
		}
		if diff := cmp.Diff(rollcall.Entry{Revision: 812, Changes: changes}, e); diff != "" {
			t.Errorf("%s reads as something else:\n%s", g.name, diff)
		}
	}
	check("state", small(t))
	h, cs, err := readAll(bytes.NewReader(known["state"]))
	if diff := cmp.Diff(slices.Clip(goldenChanges()), cs); err != nil || h != header || diff != "" {
		t.Errorf("the state file: %+v, %v\n%s", h, err, diff)
	}
	if *update {
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
