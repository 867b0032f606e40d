package resolve

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/rollcall-registry/rollcall"
)

const (
	// subsetFor is for how long a caller that asks no more counts as one.
	subsetFor = 10 * time.Minute
	// subsetSlack is by how much an instance may have more callers than the mean.
	subsetSlack = 1.25
	// mostCallers bounds those of one query; more are given the subset that they
	// would have alone.
	mostCallers = 10_000
	// mostDeals bounds the queries whose instances are dealt out, mostDealt the
	// callers times the instances of one, and mostKept the instances of all: beyond
	// them callers get what they would have alone.
	mostDeals = 1000
	mostDealt = 20_000_000
	mostKept  = 2_000_000
	// dealShare is how many times as long as it takes passes, at least, before one
	// query's instances are dealt out anew.
	dealShare = 20
)

// Subsets deals instances out to callers, each of which is to use few of them for
// long: as rendezvous hashing does, but so that no instance is dealt to more than
// 1.25 times as many callers as the mean, which hashing alone does not keep. Each
// caller asks for the instances that hash highest with it; an instance that has
// its number keeps the callers that hash highest with it, and the others ask on
// (Gale and Shapley's deferred acceptance). What comes of it does not depend on
// who came first, so it is the same after a restart once the same callers are
// back; and a caller or an instance more or less moves few.
//
// It may be used by any number of goroutines.
//
// Lock order: Subsets.mu before deal.mu.
type Subsets struct {
	Now func() time.Time

	mu    sync.Mutex // guards what follows
	deals map[string]*deal
	kept  int // ids of all deals
}

// deal is what callers of one query have been dealt.
type deal struct {
	mu      sync.Mutex           // guards what follows
	callers map[string]time.Time // when each asked last
	added   bool                 // somebody has come or gone since
	ids     []string             // in order
	size    int
	dealt   map[string][]int32 // of ids
	at      time.Time
	took    time.Duration
}

// deal returns which endpoints of a group are those of the plan's caller, at most
// size of them.
func (s *Subsets) deal(p *Plan, own rollcall.ServiceKey, g *group, size int) []Endpoint {
	if size >= len(g.from) {
		return g.from
	}
	at := make(map[string]int, len(g.from))
	ids := make([]string, len(g.from))
	for n := range g.from {
		ids[n] = g.from[n].Item.Key().String()
		at[ids[n]] = n
	}
	slices.Sort(ids)
	name := own.String() + " " + strconv.Itoa(g.branch) + " " + strconv.Itoa(int(g.ring)) + " " + p.everybodys
	var mine []Endpoint
	for _, id := range s.of(name, p.subset, ids, size) {
		mine = append(mine, g.from[at[id]])
	}
	slices.SortFunc(mine, before)
	return mine
}

// of returns the ids dealt to a caller.
func (s *Subsets) of(name, caller string, ids []string, size int) []string {
	d := s.find(name, len(ids))
	if d == nil {
		return mend(nil, caller, ids, size)
	}
	now := s.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.callers[caller]; !known {
		if len(d.callers) >= mostCallers || (len(d.callers)+1)*len(ids) > mostDealt {
			return mend(nil, caller, ids, size)
		}
		d.added = true
	}
	d.callers[caller] = now
	news := d.added || d.size != size || !slices.Equal(ids, d.ids)
	if news && (d.dealt == nil || now.Sub(d.at) >= dealShare*d.took) {
		d.anew(ids, size, now)
		news = false
	}
	mine := pick(d.ids, d.dealt[caller])
	if news {
		mine = mend(mine, caller, ids, size)
	}
	return mine
}

// find returns the deal of a query, nil if there is no room for it.
func (s *Subsets) find(name string, ids int) *deal {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.deals[name]
	if d == nil && len(s.deals) < mostDeals && s.kept+ids <= mostKept {
		if s.deals == nil {
			s.deals = map[string]*deal{}
		}
		d = &deal{callers: map[string]time.Time{}}
		s.deals[name] = d
		s.kept += ids // as many as it begins with; Sweep counts anew
	}
	return d
}

// mend makes a subset of what was dealt of other ids, or to nobody: what is still
// there, and what the caller wants most beside.
func mend(mine []string, caller string, ids []string, size int) []string {
	mine = slices.DeleteFunc(mine, func(id string) bool { _, is := slices.BinarySearch(ids, id); return !is })
	for _, n := range preferred(caller, hashed(ids), 2*size) { // of which mine are size at most
		if len(mine) >= size {
			break
		}
		if !slices.Contains(mine, ids[n]) {
			mine = append(mine, ids[n])
		}
	}
	return mine[:min(size, len(mine))]
}

func (d *deal) anew(ids []string, size int, now time.Time) {
	began := time.Now()
	for c, at := range d.callers {
		if now.Sub(at) > subsetFor {
			delete(d.callers, c)
		}
	}
	callers := make([]string, 0, len(d.callers))
	for c := range d.callers {
		callers = append(callers, c)
	}
	d.ids, d.size, d.dealt = ids, size, dealOut(callers, ids, size)
	d.added, d.at, d.took = false, now, time.Since(began)
}

// Sweep forgets the queries of which no caller asks any more.
func (s *Subsets) Sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.Now()
	s.kept = 0
	for name, d := range s.deals {
		if !d.mu.TryLock() {
			continue // somebody asks right now
		}
		for c, at := range d.callers {
			if now.Sub(at) > subsetFor {
				delete(d.callers, c)
				d.added = true
			}
		}
		if s.kept += len(d.ids); len(d.callers) == 0 {
			delete(s.deals, name)
		}
		d.mu.Unlock()
	}
}

func pick(ids []string, which []int32) []string {
	some := make([]string, len(which))
	for n, i := range which {
		some[n] = ids[i]
	}
	return some
}

// score is how much two names are for each other.
func score(a, b uint64) uint64 {
	x := a ^ b*0x9e3779b97f4a7c15
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}

// choice is how much a caller wants one of the ids.
type choice struct {
	score uint64
	n     int32
}

func (a choice) compare(b choice) int {
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.n, b.n))
}

// preferred returns the most ids, as indexes, that a caller wants most, in that
// order.
func preferred(caller string, hashes []uint64, most int) []int32 {
	h := xxhash.Sum64String(caller)
	most = min(most, len(hashes))
	cs := make([]choice, 0, min(2*most, len(hashes)))
	cut, last := false, choice{} // of what is wanted most so far
	for n := range hashes {
		c := choice{score(h, hashes[n]), int32(n)}
		if cut && last.compare(c) < 0 {
			continue
		}
		if cs = append(cs, c); len(cs) == 2*most {
			slices.SortFunc(cs, choice.compare)
			cs = cs[:most]
			cut, last = true, cs[most-1]
		}
	}
	slices.SortFunc(cs, choice.compare)
	cs = cs[:most]
	order := make([]int32, len(cs))
	for n := range cs {
		order[n] = cs[n].n
	}
	return order
}

func hashed(names []string) []uint64 {
	hs := make([]uint64, len(names))
	for n := range names {
		hs[n] = xxhash.Sum64String(names[n])
	}
	return hs
}

// room returns how many callers an instance may have: at most 1.25 times the mean,
// in steps of a tenth, so that one instance or caller more seldom changes it.
func room(callers, ids, size int) int {
	mean := float64(callers) * float64(size) / float64(ids)
	least := int(math.Ceil(mean))
	step := int(math.Pow(1.1, math.Floor(math.Log(subsetSlack*mean)/math.Log(1.1))))
	return max(1, least, step)
}

// dealOut returns for each caller the indexes of its ids, size of them.
func dealOut(callers, ids []string, size int) map[string][]int32 {
	most := room(len(callers), len(ids), size)
	hashes, names := hashed(ids), hashed(callers)
	type asked struct {
		score  uint64
		caller int32
	}
	held := make([][]asked, len(ids))      // by whom
	wants := make([][]int32, len(callers)) // as far as they were needed yet
	has := make([]int, len(callers))
	next := make([]int, len(callers))
	var asking []int32
	for c := range callers {
		wants[c] = preferred(callers[c], hashes, 3*size)
		asking = append(asking, int32(c))
	}
	for len(asking) > 0 {
		c := asking[len(asking)-1]
		asking = asking[:len(asking)-1]
		for has[c] < size && next[c] < len(ids) {
			if next[c] == len(wants[c]) {
				wants[c] = preferred(callers[c], hashes, 4*len(wants[c]))
			}
			id := wants[c][next[c]]
			next[c]++
			a := asked{score(hashes[id]+1, names[c]), c}
			h := held[id]
			if len(h) < most {
				held[id] = append(h, a)
				has[c]++
				continue
			}
			worst := 0
			for n := range h {
				if h[n].score < h[worst].score {
					worst = n
				}
			}
			if h[worst].score >= a.score {
				continue
			}
			out := h[worst].caller
			h[worst] = a
			has[c]++
			has[out]--
			asking = append(asking, out)
		}
	}
	dealt := make(map[string][]int32, len(callers))
	for id, h := range held {
		for _, a := range h {
			dealt[callers[a.caller]] = append(dealt[callers[a.caller]], int32(id))
		}
	}
	for c := range callers { // whom all that are left have refused
		mine := dealt[callers[c]]
		for n := 0; len(mine) < size && n < len(wants[c]); n++ {
			if id := wants[c][n]; !slices.Contains(mine, id) {
				mine = append(mine, id)
			}
		}
		dealt[callers[c]] = mine
	}
	return dealt
}
