package form

import (
	"math"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// Ack is what a watcher says it has.
type Ack struct {
	Subscription string
	Revision     rollcall.Revision
}

// Ack reads an acknowledgement.
func (d *Decoder) Ack(a *Ack) error {
	err := d.whole(func() error { return d.ack(a) })
	switch {
	case err != nil:
		return err
	case a.Subscription == "":
		return rollcall.Invalid("subscription", "is required: what the answer to the watch says in X-Rollcall-Subscription")
	case a.Revision == 0:
		return rollcall.Invalid("revision", "is required: that of a record with a token, which was handled and all before it")
	}
	return nil
}

func (d *Decoder) ack(a *Ack) error {
	return d.object(func(name string) error {
		switch name {
		case "subscription":
			return d.text(&a.Subscription)
		case "revision":
			n, err := d.integer(math.MaxUint64)
			a.Revision = rollcall.Revision(n)
			return err
		}
		return d.unknown()
	})
}

// Wait reads for how long a request may wait, at most 10 min.
func Wait(value string) (time.Duration, error) {
	d, err := span(value, maxWait)
	if err != nil {
		return 0, rollcall.Invalid("wait", err.Error())
	}
	return d, nil
}
