package session

import (
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
)

// reports are what a stream needs to take in load and position without making
// anything anew: there may be a report from each of its instances every second.
type reports struct {
	form.Quick
	name []byte                  // of the instance, as it is written
	keys map[string]rollcall.Key // by such names
	ttl  time.Duration           // and how that is written
	text string
}

// mostNames is how many names of instances a stream remembers the keys of.
const mostNames = 2000

// line reads a report of load and position; false if a line is no such, or is
// none of the first, which are rare.
func (r *reports) line(b []byte) bool { return r != nil && r.Line(b) }

// key returns the key of the report that was read.
func (r *reports) key() rollcall.Key {
	r.name = append(append(r.name[:0], r.Namespace...), '"') // is in none of them
	r.name = append(append(r.name, r.Service...), '"')
	r.name = append(r.name, r.ID...)
	key, known := r.keys[string(r.name)]
	if !known {
		key = rollcall.NewKey(string(r.Namespace), string(r.Service), string(r.ID))
		if len(r.keys) == mostNames {
			clear(r.keys)
		}
		r.keys[string(r.name)] = key
	}
	return key
}

// reported does what a report says that was read.
func (st *stream) reported() error {
	r := st.soft
	key := r.key()
	got, err := st.s.Report(st.ctx, key, &r.Report)
	if err != nil {
		return st.refuse(&form.Line{Type: form.LineReport, Ref: string(r.Ref), Key: key}, err)
	}
	if d := time.Duration(got.TTL); d != r.ttl {
		r.ttl, r.text = d, got.TTL.String()
	}
	return st.answer(func(b []byte) []byte { return appendRenewed(b, string(r.Ref), key, r.text, got.Revision) })
}
