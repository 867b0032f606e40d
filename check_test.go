package rollcall_test

import (
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

func TestSameCheck(t *testing.T) {
	second := rollcall.Duration(time.Second)
	tcp := rollcall.Check{Name: "c", Type: rollcall.CheckTCP}
	ttl := rollcall.Check{Name: "c", Type: rollcall.CheckTTL, TTL: second}
	for name, tt := range map[string]struct {
		of     rollcall.Check
		change func(*rollcall.Check)
		same   bool
	}{
		"nothing":          {tcp, func(*rollcall.Check) {}, true},
		"defaults":         {tcp, func(c *rollcall.Check) { *c = c.WithDefaults() }, true},
		"the interval":     {tcp, func(c *rollcall.Check) { c.Interval = 10 * second }, true},
		"deregister_after": {tcp, func(c *rollcall.Check) { c.DeregisterAfter = second }, true},
		"of a ttl check":   {ttl, func(c *rollcall.Check) { c.DeregisterAfter = second }, true},
		"name":             {tcp, func(c *rollcall.Check) { c.Name = "d" }, false},
		"type":             {tcp, func(c *rollcall.Check) { c.Type = rollcall.CheckGRPC }, false},
		"target":           {tcp, func(c *rollcall.Check) { c.Target = ":81" }, false},
		"interval":         {tcp, func(c *rollcall.Check) { c.Interval = 9 * second }, false},
		"timeout":          {tcp, func(c *rollcall.Check) { c.Timeout = 2 * second }, false},
		"rise":             {tcp, func(c *rollcall.Check) { c.Rise = 1 }, false},
		"fall":             {tcp, func(c *rollcall.Check) { c.Fall = 1 }, false},
		"ttl":              {ttl, func(c *rollcall.Check) { c.TTL = 2 * second }, false},
	} {
		c := tt.of
		tt.change(&c)
		if a, b := tt.of.Same(c), c.Same(tt.of); a != tt.same || b != tt.same {
			t.Errorf("%s: %v and %v, want %v", name, a, b, tt.same)
		}
	}
}
