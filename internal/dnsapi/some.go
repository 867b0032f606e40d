package dnsapi

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// leastRecord is how many bytes a record with a name or a text has at least.
const leastRecord = 2 + fixedSize + 2

// some returns endpoints of an answer that take traffic, in any order and drawn evenly:
// as many as can be of use in the answer to a query. Of a view, who they are is kept,
// so that it costs little to ask a big service for a few.
func (h *handler) some(q *query, k *known, a *resolve.Answer) []resolve.Endpoint {
	most := q.limit / leastRecord
	if a.View == nil {
		var all []int
		for n := range a.Result.Endpoints {
			if a.Result.Endpoints[n].Weight > 0 {
				all = append(all, n)
			}
		}
		es := make([]resolve.Endpoint, 0, min(len(all), most))
		for _, n := range draw(h.rand, len(all), most) {
			es = append(es, a.Result.Endpoints[all[n]])
		}
		return es
	}
	k.of(a)
	who := ids(a.View.Memo("ids "+k.key, func() []byte { return idsOf(a) }))
	es := make([]resolve.Endpoint, 0, min(who.len(), most))
	for _, n := range draw(h.rand, who.len(), most) {
		i := a.View.Get(who.at(n))
		es = append(es, resolve.Endpoint{Item: i, Weight: a.World.Weight(i)})
	}
	return es
}

// draw returns at most so many of the numbers below n, each in any place as likely as
// in any other.
func draw(r *rand.Rand, n, most int) []int {
	if n <= 2*most {
		return r.Perm(n)[:min(n, most)]
	}
	seen := make(map[int]bool, most)
	drawn := make([]int, 0, most)
	for len(drawn) < most {
		if i := r.IntN(n); !seen[i] {
			seen[i] = true
			drawn = append(drawn, i)
		}
	}
	return drawn
}

// ids are those of instances: how many there are, where each begins, where the last
// ends, and their text.
type ids []byte

func idsOf(a *resolve.Answer) ids {
	all, _ := a.Endpoints()
	var at []uint32
	var text []byte
	for _, e := range all {
		if e.Weight > 0 {
			at = append(at, uint32(len(text)))
			text = append(text, e.Item.ID()...)
		}
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(at)))
	for _, n := range append(at, uint32(len(text))) {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return append(b, text...)
}

func (s ids) len() int { return int(binary.LittleEndian.Uint32(s)) }

func (s ids) at(n int) string {
	text := s[4*(s.len()+2):]
	return string(text[binary.LittleEndian.Uint32(s[4*(n+1):]):binary.LittleEndian.Uint32(s[4*(n+2):])])
}
