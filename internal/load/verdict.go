package load

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// What makes an outlier, and for how long; [Outliers] has the rules.
const (
	quorum      = 3    // callers that must agree
	failing     = 0.85 // failed share that is one by itself
	failingOf   = 50   // requests for that
	sigmas      = 1.9  // standard deviations below the mean
	sigmasOf    = 100  // requests for an instance to be compared
	sigmasAmong = 5    // instances to be compared
	leastGap    = 0.05 // that a caller sees between an instance and the others
	surprise    = 20.0 // -ln of how likely chance makes a caller see it

	ejectLeast  = 30 * time.Second // for the first time; twice that for the second...
	ejectMost   = 300 * time.Second
	ejectJitter = 0.1
	ejectShare  = 10 // one in so many instances, at least one
)

// Verdict is a change in who is ejected.
type Verdict struct {
	Key    rollcall.Key
	Eject  bool      // false: the ejection is over
	Reason string    // in words, with the numbers behind it
	Until  time.Time // when the ejection is to end, or was to
}

// Standing is what is known of one instance by its callers' reports.
type Standing struct {
	// SuccessRate is that of the evidence, 0 to 1, once no caller has more than
	// its share of it; Requests is how many requests that evidence is then.
	SuccessRate float64
	Requests    float64
	// Mean and Sigma are those of the service's success rates; both are 0 if too
	// few instances could be compared.
	Mean, Sigma float64
	// Callers report on the instance; Agreeing are those for which it fails
	// beyond the others, and Voices how many of these a quorum counts.
	Callers, Agreeing, Voices int
	// Times is how often in a row it has been ejected.
	Times int
}

// Sweep judges all that was reported and returns what changed: first those
// instances whose ejection is over, then those that are ejected. It is to be
// called every 10 s, and at once when [Outliers.Report] says so. size tells how
// many instances a service has, 0 if there is no such service; what was reported
// of it is forgotten then.
func (o *Outliers) Sweep(size func(rollcall.ServiceKey) int) (vs []Verdict) {
	o.mu.Lock()
	keys := make([]rollcall.ServiceKey, 0, len(o.services))
	for key := range o.services {
		keys = append(keys, key)
	}
	o.mu.Unlock()
	slices.SortFunc(keys, rollcall.ServiceKey.Compare)
	for _, key := range keys {
		vs = o.sweep(key, size(key), vs) // others may report meanwhile
	}
	return vs
}

func (o *Outliers) sweep(key rollcall.ServiceKey, size int, vs []Verdict) []Verdict {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := o.services[key]
	if s == nil {
		return vs
	}
	now := o.o.Now()
	o.weigh(s, now)
	vs = s.tidy(now, vs)
	if size == 0 {
		for _, i := range s.instances {
			o.dismiss(i, nil)
		}
		clear(s.instances)
		clear(s.callers)
		clear(s.names)
	}
	if len(s.instances) == 0 && len(s.callers) == 0 {
		delete(o.services, key)
		return vs
	}
	if !s.fresh {
		return vs // fading alone convicts nobody
	}
	s.fresh = false
	outliers := s.judge(now)
	for _, i := range outliers[:min(len(outliers), s.mayEject(size))] {
		i.times++
		i.lasted = ejectFor(i.times, o.o.Rand())
		i.standing.Times = i.times
		i.verdict = Verdict{
			Key: rollcall.Key{ServiceKey: key, ID: i.id}, Eject: true,
			Reason: i.standing.reason(), Until: now.Add(i.lasted),
		}
		o.dismiss(i, nil)
		vs = append(vs, i.verdict)
	}
	return vs
}

// ejectFor returns for how long an instance is ejected for the times-th time in
// a row; random is from [0, 1).
func ejectFor(times int, random float64) time.Duration {
	d := min(time.Duration(min(times, 1000))*ejectLeast, ejectMost)
	return min(d+time.Duration(float64(d)*ejectJitter*(2*random-1)), ejectMost)
}

// weigh works out what the tallies come to now, and forgets those that have come
// to nothing.
func (o *Outliers) weigh(s *reported, now time.Time) {
	w, left := o.at(now)
	for _, c := range s.callers {
		c.total = evidence{}
	}
	for _, i := range s.instances {
		for c, t := range i.by {
			t.roll(w)
			t.now = t.current
			t.now.add(t.previous, left)
			if t.now.total() == 0 {
				o.dismiss(i, c)
				continue
			}
			c.total.add(t.now, 1)
			i.setHard(t, t.now.share() >= failing)
		}
	}
}

// tidy ends the ejections whose time is up, and forgets callers and instances
// that nothing is left of.
func (s *reported) tidy(now time.Time, vs []Verdict) []Verdict {
	for who, c := range s.callers {
		if now.Sub(c.heard) >= forgetAfter {
			delete(s.callers, who)
			if s.names[who.from]--; s.names[who.from] == 0 {
				delete(s.names, who.from)
			}
		}
	}
	first := len(vs)
	for id, i := range s.instances {
		switch v := &i.verdict; {
		case v.Eject && !now.Before(v.Until):
			v.Eject, v.Reason, i.ended = false, fmt.Sprintf("was ejected for %v", i.lasted.Round(time.Second)), now
			vs = append(vs, *v)
		case !v.Eject && now.Sub(i.ended) >= i.lasted:
			i.times = 0
		}
		if len(i.by) > 0 || i.verdict.Eject {
			continue
		}
		i.standing = Standing{}
		if i.times == 0 {
			delete(s.instances, id)
		}
	}
	slices.SortFunc(vs[first:], func(a, b Verdict) int { return cmp.Compare(a.Key.ID, b.Key.ID) })
	return vs
}

// mayEject returns how many more instances may be ejected of size.
func (s *reported) mayEject(size int) int {
	most := max(1, size/ejectShare)
	for _, i := range s.instances {
		if i.verdict.Eject {
			most--
		}
	}
	return max(0, most)
}

// judge brings the standings up to date and returns the outliers that are not
// ejected yet, the worst first.
func (s *reported) judge(now time.Time) (outliers []*observed) {
	few := s.few(now)
	heard := map[netip.Addr]struct{}{}
	var sum, squares, compared float64
	for _, i := range s.instances {
		if i.verdict.Eject {
			continue
		}
		i.assess(heard)
		if i.standing.Requests >= sigmasOf {
			sum += i.standing.SuccessRate
			squares += i.standing.SuccessRate * i.standing.SuccessRate
			compared++
		}
	}
	var mean, sigma float64
	if compared >= sigmasAmong {
		mean = sum / compared
		sigma = math.Sqrt(max(0, squares/compared-mean*mean))
	}
	for _, i := range s.instances {
		st := &i.standing
		if i.verdict.Eject || st.Callers == 0 {
			continue
		}
		st.Mean, st.Sigma = mean, sigma
		agreed := st.Voices >= quorum || few && st.Agreeing == st.Callers
		fails := st.Requests >= failingOf && 1-st.SuccessRate >= failing
		deviates := st.Requests >= sigmasOf && st.SuccessRate < mean-sigmas*sigma
		if agreed && (fails || deviates) {
			outliers = append(outliers, i)
		}
	}
	slices.SortFunc(outliers, func(a, b *observed) int {
		return cmp.Or(cmp.Compare(a.standing.SuccessRate, b.standing.SuccessRate), cmp.Compare(a.id, b.id))
	})
	return outliers
}

// assess works out an instance's standing by itself. heard is room for addresses.
func (i *observed) assess(heard map[netip.Addr]struct{}) {
	clear(heard)
	i.standing = Standing{Callers: len(i.by), Times: i.times}
	most := i.most()
	var e evidence
	for c, t := range i.by {
		e.add(t.now, min(1, most/t.now.total()))
		others := c.total
		others.add(t.now, -1)
		if beyond(t.now, others) {
			i.standing.Agreeing++
			if _, known := heard[c.from]; !known || !c.from.IsValid() {
				i.standing.Voices++
				heard[c.from] = struct{}{}
			}
		}
	}
	if n := e.total(); n > 0 {
		i.standing.Requests, i.standing.SuccessRate = n, e.ok/n
	}
}

// most returns how much evidence one caller may have on the instance, so that
// it makes up no more than a third of all that counts; a half of two callers'.
func (i *observed) most() float64 {
	var sum, first, second float64
	for _, t := range i.by {
		n := t.now.total()
		sum += n
		if n > first {
			first, second = n, first
		} else {
			second = max(second, n)
		}
	}
	rest := sum - first
	switch {
	case len(i.by) <= 1:
		return first
	case len(i.by) == 2:
		return second
	case rest/2 >= second: // the first alone can have too much: x = (x + rest) / 3
		return rest / 2
	}
	return rest - second // the first two: x = (2x + rest - second) / 3
}

// reason says in words why the instance is ejected.
func (st *Standing) reason() string {
	text := fmt.Sprintf("%.1f %% of %.0f requests fail, for %d of %d callers more than on other instances",
		100*(1-st.SuccessRate), st.Requests, st.Agreeing, st.Callers)
	if st.Mean > 0 {
		text += fmt.Sprintf("; %.1f %% fail on average", 100*(1-st.Mean))
	}
	if st.Times > 1 {
		text += fmt.Sprintf("; ejected %d times in a row", st.Times)
	}
	return text
}
