package record

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

var seed = flag.Uint64("seed", 0, "seed of the random tests; 0 draws one")

// generator makes registrations and changes as they may come from a registry:
// normalized, and text in UTF-8.
type generator struct{ *rand.Rand }

func newGenerator(t testing.TB) *generator {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed %d", s)
	return &generator{rand.New(rand.NewPCG(s, 0))}
}

func (g *generator) some() bool { return g.IntN(2) == 0 }

func (g *generator) text() string {
	if g.some() {
		return ""
	}
	return g.name()
}

// name is a text that is not empty and now and then longer than one byte of
// length can say.
func (g *generator) name() string {
	const letters = "abcXYZ019-_. \x00\n<日é😀"
	var b strings.Builder
	n := 1 + g.IntN(10)
	if g.IntN(10) == 0 {
		n = 100 + g.IntN(100)
	}
	for runes := []rune(letters); n > 0; n-- {
		b.WriteRune(runes[g.IntN(len(runes))])
	}
	return b.String()
}

func (g *generator) duration() rollcall.Duration {
	return rollcall.Duration(g.Uint64() >> (1 + g.IntN(63)))
}

func (g *generator) float() float64 {
	for {
		if f := math.Float64frombits(g.Uint64()); !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	}
}

func (g *generator) time() time.Time { return time.Unix(1+g.Int64N(9e9), g.Int64N(1e9)).UTC() }

func (g *generator) value(lists bool) rollcall.Value {
	switch g.IntN(4) {
	case 0:
		return rollcall.Bool(g.some())
	case 1:
		return rollcall.Number(g.float())
	case 2:
		return rollcall.String(g.text())
	}
	if !lists {
		return rollcall.Number(0)
	}
	vs := make([]rollcall.Value, g.IntN(4))
	for i := range vs {
		vs[i] = g.value(false)
	}
	return rollcall.List(vs...)
}

func (g *generator) instance() rollcall.Instance {
	i := rollcall.Instance{
		Namespace: g.pick("", "default", "Prod", "test"), Service: g.pick("payments", "Payments", "a.b"), ID: g.name(),
		Address: g.text(), Version: g.text(), Node: g.text(), Origin: g.text(),
		Locality: rollcall.Locality{Region: g.text(), Zone: g.text(), SubZone: g.text()},
	}
	if g.some() {
		i.Position = &rollcall.Position{Lat: g.float(), Lon: g.float()}
	}
	// More than find room in one that is made before.
	if n := g.IntN(6) * g.IntN(6) * g.IntN(6); n > 0 {
		i.Ports, i.Capabilities, i.Metadata = map[string]uint16{}, map[string]rollcall.Value{}, map[string]string{}
		for range n {
			i.Ports[g.name()] = uint16(1 + g.IntN(65535))
			i.Capabilities[g.name()] = g.value(true)
			i.Metadata[g.name()] = g.text()
		}
	}
	if g.some() {
		i.Weight = new(uint16(g.IntN(300)))
	}
	if g.some() {
		i.Capacity, i.Warmup = g.Uint32(), g.duration()
	}
	i.Lease = rollcall.Lease{Mode: rollcall.LeaseMode(g.pick("", "ttl", "session", "none", "later"))}
	if g.some() {
		i.Lease.TTL, i.Lease.RemoveAfter = g.duration(), g.duration()
	}
	for range g.IntN(4) {
		i.Checks = append(i.Checks, rollcall.Check{
			Name: g.name(), Type: rollcall.CheckType(g.text()), TTL: g.duration(), Target: g.text(), Interval: g.duration(),
			Timeout: g.duration(), Rise: g.IntN(100), Fall: g.IntN(100), DeregisterAfter: g.duration(),
		})
	}
	i.Vouched = g.some()
	i.Normalize()
	return i
}

func (g *generator) pick(ss ...string) string { return ss[g.IntN(len(ss))] }

// change makes a change of one of the kinds, those that clear included.
func (g *generator) change() rollcall.Change {
	c := rollcall.Change{By: g.text(), Via: g.text(), Why: g.text(), Revision: rollcall.Revision(1 + g.Uint64()>>g.IntN(64))}
	if g.some() {
		c.At = g.time()
	}
	i := g.instance()
	status := rollcall.Statuses()[g.IntN(6)]
	switch n := g.IntN(14); n {
	case 0, 1:
		put := rollcall.InstancePut{Key: i.Key(), Record: Pack(&i)}
		if g.some() {
			put.Incarnation, put.RegisteredAt = rollcall.Revision(g.Uint64()), g.time()
		}
		c.Body = put
	case 2:
		c.Body = rollcall.InstanceRemove{Key: i.Key()}
	case 3:
		put := rollcall.HealthPut{Service: i.Key().ServiceKey, Slot: rollcall.Slot(g.text()), Status: status, Reason: g.text(), Hard: g.some(), IDs: []string{}}
		for range g.IntN(20) {
			put.IDs = append(put.IDs, g.text())
		}
		c.Body = put
	case 4:
		c.Body = rollcall.OverridePut{Key: i.Key()}
	case 5:
		o := &rollcall.Override{Status: status, Reason: g.text(), By: g.text()}
		if g.some() {
			o.Expires, o.Since = new(g.time()), g.time()
		}
		c.Body = rollcall.OverridePut{Key: i.Key(), Override: o}
	case 6:
		c.Body = rollcall.SettingsPut{Service: i.Key().ServiceKey, Name: g.text()}
	case 7:
		s := &rollcall.Settings{}
		for _, f := range []**float64{&s.GuardShare, &s.Panic, &s.PositionRate} {
			if g.some() {
				*f = new(float64(g.IntN(2)))
			}
		}
		if g.some() {
			s.DNSTTL = new(rollcall.Duration(g.IntN(2)))
		}
		c.Body = rollcall.SettingsPut{Service: i.Key().ServiceKey, Name: g.text(), Settings: s}
	case 8:
		c.Body = rollcall.GuardPut{Service: i.Key().ServiceKey}
	case 9:
		key := i.Key().ServiceKey
		g := rollcall.Guard{Namespace: key.Namespace, Service: key.Service, Since: g.time(), Reason: g.text()}
		c.Body = rollcall.GuardPut{Service: key, Guard: &g}
	case 10:
		c.Body = rollcall.QueryPut{Name: i.Key().ServiceKey}
	case 11:
		c.Body = rollcall.QueryPut{Name: i.Key().ServiceKey, Query: g.query(&i)}
	default:
		var parts []string
		for range 1 + g.IntN(5) {
			parts = append(parts, strings.ReplaceAll(g.text(), "\x00", ""))
		}
		c.Body = rollcall.Unknown{Kind: uint32(kindGuard + 1 + g.IntN(100)), Key: strings.Join(parts, "\x00"), Data: g.text()}
	}
	return c
}

func (g *generator) query(of *rollcall.Instance) *rollcall.NamedQuery {
	target := func() rollcall.QueryTarget {
		return rollcall.QueryTarget{Namespace: g.text(), Service: g.text(), Filter: g.text(), Near: g.text()}
	}
	q := &rollcall.NamedQuery{
		Namespace: of.Namespace, Name: of.Service, Service: g.text(), Filter: g.text(), Near: g.text(),
		MinRoutable: g.IntN(3), Limit: g.IntN(1000), SubsetSize: g.IntN(3),
	}
	for range g.IntN(4) {
		q.Split = append(q.Split, rollcall.Split{Percent: g.float(), QueryTarget: target()})
	}
	for range g.IntN(4) {
		q.Failover = append(q.Failover, target())
	}
	return q
}

// extra appends a field that this version does not know.
func (g *generator) extra(b []byte) []byte {
	num := fmt.Sprintf("%c", 'a'+g.IntN(3))
	switch g.IntN(3) {
	case 0:
		return appendTextAlways(b, 1000, num)
	case 1:
		return appendIntAlways(b, 1001, g.Uint64())
	}
	return appendDouble(b, 1<<29-1, g.float())
}
