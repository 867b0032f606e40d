package modeltest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// command is one thing that is done to a registry. It holds all it needs, so
// that a list of commands is a test that can be run again, or in part.
type command struct {
	Op        string
	Instances []rollcall.Instance `json:",omitempty"`
	Key       rollcall.Key        `json:",omitzero"`
	Match     string              `json:",omitempty"` // current, stale
	Door      bool                `json:",omitempty"` // over HTTP
	Patch     map[string]any      `json:",omitempty"`
	Report    *rollcall.Report    `json:",omitempty"`
	Renews    []rollcall.Renew    `json:",omitempty"`
	On        bool                `json:",omitempty"`
	Override  *rollcall.Override  `json:",omitempty"`
	Settings  *rollcall.Settings  `json:",omitempty"`
	For       rollcall.Duration   `json:",omitempty"`
	Number    int                 `json:",omitempty"`
	Seed      uint64              // of what is looked at meanwhile
}

func (c command) String() string { return asJSON(c) }

var services = []rollcall.ServiceKey{
	rollcall.NewServiceKey("", "payments"), rollcall.NewServiceKey("", "billing"), rollcall.NewServiceKey("", "search"),
	rollcall.NewServiceKey("prod", "payments"), rollcall.NewServiceKey("prod", "mail"),
}

// generator makes commands.
type generator struct {
	rng *rand.Rand
	// names asks for services that are written in several ways.
	names bool
}

func pick[T any](g *generator, of ...T) T { return of[g.rng.IntN(len(of))] }

func seconds(n float64) rollcall.Duration { return rollcall.Duration(n * float64(time.Second)) }

// key returns the key of one of few instances, the first ones more often.
func (g *generator) key() rollcall.Key {
	s := services[g.rng.IntN(1+g.rng.IntN(len(services)))]
	return rollcall.Key{ServiceKey: s, ID: fmt.Sprintf("i-%d", g.rng.IntN(1+g.rng.IntN(6)))}
}

func (g *generator) instance() rollcall.Instance {
	key := g.key()
	i := rollcall.Instance{Namespace: key.Namespace, Service: key.Service, ID: key.ID, Address: pick(g, "10.0.0.1", "10.0.0.2")}
	switch g.rng.IntN(8) {
	case 0:
		if g.names {
			i.Service = strings.ToUpper(i.Service)
		}
	case 1:
		i.Namespace = strings.ToUpper(i.Namespace)
	}
	i.Ports = map[string]uint16{"http": 8080}
	i.Version = pick(g, "", "1", "2")
	i.Lease = g.lease()
	if g.rng.IntN(3) == 0 {
		i.Capabilities = map[string]rollcall.Value{"gpu": rollcall.Number(pick(g, 2.0, 4)), "codecs": rollcall.Strings("h264", pick(g, "av1", "vp9"))}
	}
	if g.rng.IntN(3) == 0 {
		i.Metadata = map[string]string{"team": pick(g, "checkout", "search", "")}
	}
	if g.rng.IntN(5) == 0 {
		i.Capabilities = map[string]rollcall.Value{"canary": pick(g, rollcall.Bool(true), rollcall.String("true"), rollcall.Bool(false))}
	}
	if g.rng.IntN(3) == 0 {
		i.Position = g.position()
	}
	if g.rng.IntN(4) == 0 {
		i.Checks = g.checks()
	}
	switch g.rng.IntN(40) {
	case 0:
		i.Lease.TTL = seconds(1)
	case 1:
		i.Lease = rollcall.Lease{Mode: rollcall.LeaseSession}
	case 2:
		i.Address = "10.0.0.1:80"
	}
	return i
}

func (g *generator) lease() rollcall.Lease {
	if g.rng.IntN(5) < 2 {
		return rollcall.Lease{Mode: rollcall.LeaseNone}
	}
	return rollcall.Lease{TTL: pick(g, 0, seconds(2), seconds(5), seconds(130)), RemoveAfter: pick(g, 0, 1, seconds(3), seconds(0.25), seconds(200))}
}

func (g *generator) position() *rollcall.Position {
	return pick(g, &rollcall.Position{Lat: 1, Lon: 1}, &rollcall.Position{Lat: 2, Lon: -2}, &rollcall.Position{Lat: 52.52, Lon: 13.4})
}

func (g *generator) checks() (cs []rollcall.Check) {
	for _, name := range []string{"queue", "disk"} {
		if g.rng.IntN(3) > 0 {
			cs = append(cs, rollcall.Check{Name: name, Type: rollcall.CheckTTL, TTL: pick(g, seconds(1), seconds(4), seconds(120)), DeregisterAfter: pick(g, 0, 0, seconds(7), seconds(300))})
		}
	}
	return cs
}

func (g *generator) report() *rollcall.Report {
	switch g.rng.IntN(4) {
	case 0:
		return nil
	case 1:
		return &rollcall.Report{}
	}
	rep := &rollcall.Report{Note: pick(g, "", "full")}
	if g.rng.IntN(2) == 0 {
		rep.Status = pick(g, rollcall.Healthy, rollcall.Healthy, rollcall.Degraded, rollcall.Starting, rollcall.Unhealthy, rollcall.Draining)
	}
	if g.rng.IntN(2) == 0 {
		rep.Checks = map[string]rollcall.CheckReport{}
		for _, name := range []string{"queue", "disk"} {
			if g.rng.IntN(2) == 0 {
				rep.Checks[name] = rollcall.CheckReport{Status: pick(g, rollcall.Healthy, rollcall.Healthy, rollcall.Degraded, rollcall.Unhealthy), Note: pick(g, "", "97 %")}
			}
		}
	}
	if g.rng.IntN(4) == 0 {
		rep.Load = &rollcall.Load{Utilization: pick(g, 0.25, 0.5), InFlight: g.rng.IntN(5)}
	}
	if g.rng.IntN(4) == 0 {
		rep.Position = g.position()
	}
	switch g.rng.IntN(30) {
	case 0:
		rep.Status = rollcall.Suspect
	case 1:
		rep.Position = &rollcall.Position{Lat: 91}
	case 2:
		rep.Load = &rollcall.Load{RPS: -1}
	}
	return rep
}

func (g *generator) patch() map[string]any {
	p := map[string]any{}
	for range 1 + g.rng.IntN(3) {
		switch g.rng.IntN(13) {
		case 0:
			p["version"] = pick[any](g, "1", "2", nil)
		case 1:
			p["weight"] = pick[any](g, 50.0, 100.0, nil)
		case 2:
			p["metadata"] = pick[any](g, nil, map[string]any{"team": "checkout"}, map[string]any{"team": nil}, map[string]any{"new": "x"})
		case 3:
			p["capabilities"] = pick[any](g, nil, map[string]any{"gpu": 2.0}, map[string]any{"codecs": []any{"av1"}}, map[string]any{"gpu": nil})
		case 4, 5, 6:
			at := g.position()
			p["position"] = pick[any](g, nil, map[string]any{"lat": at.Lat, "lon": at.Lon}, map[string]any{"lat": at.Lat, "lon": at.Lon})
		case 7:
			p["lease"] = pick[any](g, nil, map[string]any{"mode": "none", "ttl": nil, "remove_after": nil}, map[string]any{"mode": "ttl", "ttl": "3s"}, map[string]any{"mode": "ttl", "ttl": "130s", "remove_after": "5s"})
		case 8:
			var checks any
			if err := json.Unmarshal([]byte(asJSON(g.checks())), &checks); err != nil {
				panic(err)
			}
			p["checks"] = checks
		case 9:
			p["ports"] = pick[any](g, nil, map[string]any{"http": 8081.0}, map[string]any{"http": nil, "grpc": 9090.0})
		case 10:
			p["address"] = pick[any](g, "10.0.0.1", "10.0.0.3")
		case 11:
			p["locality"] = pick[any](g, nil, map[string]any{"zone": "a"}, map[string]any{"region": "eu"})
		case 12:
			if g.rng.IntN(3) == 0 {
				p["version"] = strings.Repeat("x", 513)
			}
		}
	}
	return p
}

// next returns a command.
func (g *generator) next() (c command) {
	defer func() { c.Seed = g.rng.Uint64() }()
	c.Key = g.key()
	c.Match = pick(g, "", "", "", "", "", "current", "stale")
	c.Door = g.rng.IntN(2) == 0
	switch n := g.rng.IntN(1000); {
	case n < 170:
		c.Op, c.Instances = "register", []rollcall.Instance{g.instance()}
	case n < 230:
		c.Op, c.On = "register many", g.rng.IntN(3) == 0 // some of them again
		for range 1 + g.rng.IntN(8) {
			c.Instances = append(c.Instances, g.instance())
		}
	case n < 270:
		c.Op = "register again"
	case n < 400:
		c.Op, c.Patch = "update", g.patch()
	case n < 510:
		c.Op, c.Report = "renew", g.report()
	case n < 570:
		c.Op = "renew many"
		for range g.rng.IntN(12) {
			r := rollcall.Renew{Key: g.key()}
			if g.rng.IntN(4) == 0 {
				r.Position = g.position()
			}
			if g.rng.IntN(4) == 0 {
				r.Load = &rollcall.Load{InFlight: g.rng.IntN(5)}
			}
			if g.rng.IntN(60) == 0 {
				r.Position = &rollcall.Position{Lon: 181}
			}
			c.Renews = append(c.Renews, r)
		}
	case n < 620:
		c.Op = "deregister"
	case n < 660:
		c.Op, c.On = "drain", g.rng.IntN(3) > 0
	case n < 720:
		c.Op = "override"
		if g.rng.IntN(3) > 0 {
			c.Override = &rollcall.Override{Status: pick(g, 0, rollcall.Healthy, rollcall.Unhealthy, rollcall.Degraded), Reason: pick(g, "", "by hand")}
			c.For = pick(g, 0, seconds(2.5), seconds(30), seconds(100000), seconds(-1))
		}
	case n < 740:
		c.Op = "settings"
		if g.rng.IntN(3) > 0 {
			c.Settings = &rollcall.Settings{Panic: new(pick(g, 0.0, 0, 2)), PositionRate: new(pick(g, 0.25, 0.5))}
		}
	case n < 870:
		c.Op, c.For = "wait", pick(g, seconds(0.1), seconds(0.1), seconds(0.1), seconds(0.5), seconds(1), seconds(3), seconds(8))
	case n < 877:
		c.Op, c.For = "wait", pick(g, seconds(40), seconds(140))
	case n < 880:
		c.Op, c.For = "wait", seconds(330) // more than watches remember
	case n < 882:
		c.Op = "forget" // stops for long, and goes on for so long that it forgets
	case n < 920:
		c.Op, c.Number = "watcher reads", 1+g.rng.IntN(3)
	case n < 950:
		c.Op = "watcher reconnects"
	case n < 975:
		c.Op, c.Number = "resume", g.rng.IntN(100)
	case n < 983:
		c.Op = "replay"
	case n < 990:
		c.Op = "checkpoint"
	default:
		c.Op, c.On, c.For = "reopen", g.rng.IntN(2) == 0, pick(g, 0, seconds(1), seconds(3600))
	}
	return c
}
