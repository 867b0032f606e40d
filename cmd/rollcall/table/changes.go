package table

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
)

// Changes prints the events of a watch as lines: time, what, which, how.
type Changes struct {
	Out       io.Writer
	Bookmarks bool // and weights
}

// Event prints an event of a watch of a service, or of many if that is empty.
func (c *Changes) Event(ev *client.Event, service string) error {
	if ev.Service != "" {
		service = ev.Service
	}
	switch ev.Type {
	case client.EventSnapshot, client.EventReset:
		err := c.line(string(ev.Type), service, "", fmt.Sprintf("%d instances at revision %d", len(ev.Instances), ev.Revision))
		for n := range ev.Instances {
			if err == nil {
				err = c.instance("  has", &ev.Instances[n])
			}
		}
		return err
	case client.EventPut:
		if ev.Instance == nil {
			return nil
		}
		return c.instance("put", ev.Instance)
	case client.EventHealth:
		for _, id := range ev.IDs {
			if err := c.line("health", service, id, Join(ev.Status.String(), ev.Reason)); err != nil {
				return err
			}
		}
	case client.EventRemove:
		return c.line("remove", service, ev.ID, ev.Reason)
	case client.EventWeights:
		if c.Bookmarks {
			return c.line(string(ev.Type), service, "", weights(ev.Weights))
		}
	default:
		if c.Bookmarks {
			return c.line(string(ev.Type), service, "", fmt.Sprintf("revision %d", ev.Revision))
		}
	}
	return nil
}

func (c *Changes) instance(what string, i *rollcall.Instance) error {
	h := HealthOf(i)
	km := ""
	if i.Distance != nil {
		km = Distance(i.Distance) + " km"
	}
	return c.line(what, i.Service, i.ID, Join(i.Address, Ports(i.Ports), Status(i.Health), h.Reason, km))
}

func weights(of map[string]uint16) string {
	var parts []string
	for _, id := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%s=%d", id, of[id]))
	}
	return strings.Join(parts, " ")
}

func (c *Changes) line(what, service, id, how string) error {
	which := service
	if id != "" {
		which += "/" + id
	}
	_, err := fmt.Fprintln(c.Out, strings.TrimRight(fmt.Sprintf("%s  %-8s  %-32s  %s",
		time.Now().Format(time.TimeOnly), what, Clean(which), Clean(how)), " "))
	return err
}

// Join joins what is not empty with spaces.
func Join(parts ...string) string {
	return strings.Join(strings.Fields(strings.Join(parts, " ")), " ")
}

// HealthOf returns an instance's health, a zero one if there is none.
func HealthOf(i *rollcall.Instance) rollcall.Health {
	if i.Health == nil {
		return rollcall.Health{}
	}
	return *i.Health
}
