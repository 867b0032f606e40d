// Package history remembers what happened: who did what, when, through which
// door and why. It holds the newest events in memory; after a restart it begins
// with those that the log still has.
package history

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/rollcall-registry/rollcall"
)

// Capacity is how many events are kept.
const Capacity = 100_000

// History is a ring of events. Add belongs to one goroutine; Events may be
// called by any.
type History struct {
	mu    sync.RWMutex // guards what follows
	ring  []rollcall.Event
	total uint64 // ever added; event n is at ring[n % Capacity]
}

// Add appends events.
func (h *History) Add(es ...rollcall.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range es {
		if len(h.ring) < Capacity {
			h.ring = append(h.ring, e)
		} else {
			h.ring[h.total%Capacity] = e
		}
		h.total++
	}
}

// Events returns up to limit events that match f, newest first, and a cursor
// for those that follow; "" if there are none. The cursor of a page that has
// been overwritten meanwhile ends the listing.
func (h *History) Events(f rollcall.EventFilter, after string, limit int) (es []rollcall.Event, next string, err error) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	n := h.total
	if after != "" {
		if n, err = strconv.ParseUint(after, 10, 64); err != nil || n > h.total {
			return nil, "", rollcall.Invalid("after", fmt.Sprintf("%.40q is not a cursor: pass back what next said", after))
		}
	}
	f.Namespace = strings.ToLower(f.Namespace)
	for oldest := h.total - uint64(len(h.ring)); n > oldest; n-- {
		e := &h.ring[(n-1)%Capacity]
		if !matches(&f, e) {
			continue
		}
		if len(es) == limit {
			return es, strconv.FormatUint(n, 10), nil
		}
		es = append(es, *e)
	}
	return es, "", nil
}

func matches(f *rollcall.EventFilter, e *rollcall.Event) bool {
	return (f.Namespace == "" || f.Namespace == e.Namespace) &&
		(f.Service == "" || strings.EqualFold(f.Service, e.Service)) &&
		(f.ID == "" || f.ID == e.ID) &&
		(f.Since.IsZero() || !e.At.Before(f.Since)) &&
		(f.Until.IsZero() || e.At.Before(f.Until))
}
