package catalog

import (
	"sync/atomic"

	"github.com/rollcall-registry/rollcall"
)

// stamps is how many stamps there are: so many that services seldom change each
// other's, and so few that a cache holds them all.
const stamps = 1 << 12

// Stamp returns a number that has grown whenever what is known of a service has
// changed, and sometimes when it has not: services share stamps. It is for those who
// keep what they made of a service's view and want to know at once that they may use it
// again: they read the stamp before they look at the view. It grows once the change can
// be seen, and before anybody hears of it. Who knows more of services than is in the
// log may raise it for that.
func (c *Catalog) Stamp(key rollcall.ServiceKey) *atomic.Uint64 {
	return &c.stamps[c.hash.of(key)%stamps]
}

// stamp raises the stamps of what was published.
func (c *Catalog) stamp(all bool) {
	for _, hash := range c.moved {
		c.stamps[hash%stamps].Add(1)
	}
	c.moved = c.moved[:0]
	if !all {
		return
	}
	for i := range c.stamps {
		c.stamps[i].Add(1)
	}
}
