package simulation

import (
	"math/rand/v2"
	"time"
)

// Cause is what an accident is, and why an instance was removed though it was
// well. They are ordered: if several may be the cause, the last one is said to be.
type Cause uint8

// The causes.
const (
	Loss Cause = iota // of heartbeats alone
	Starvation
	Crash // of a process, whose successor is concerned
	Death // of a host
	ClientPause
	RegistryPause
	CutOne
	CutRack
	CutZone
	CutAll
	causes
)

var causeNames = [causes]string{
	"lost heartbeats alone", "starved host", "process crash", "host death", "paused instance", "paused registry",
	"cut of one instance", "cut of a rack", "cut of a zone", "cut of all",
}

func (c Cause) String() string { return causeNames[c] }

// accidents has them happen.
type accidents struct {
	*sim
	id     uint8
	rng    *rand.Rand
	counts [causes]int
}

// of returns how often a kind of accident happens, and to how many victims.
func (a *accidents) of(c Cause) (Accident, int) {
	switch c {
	case Starvation:
		return a.Starvation, len(a.hosts)
	case Crash:
		return a.ProcessCrash, len(a.instances)
	case Death:
		return a.HostDeath, len(a.hosts)
	case ClientPause:
		return a.ClientPause, len(a.instances)
	case RegistryPause:
		return a.RegistryPause, 1
	}
	return map[Cause]Accident{CutOne: a.CutOne, CutRack: a.CutRack, CutZone: a.CutZone, CutAll: a.CutAll}[c], len(a.places[c])
}

func (a *accidents) begin() {
	for c := Starvation; c < causes; c++ {
		a.next(c)
	}
}

// next plans the next accident of a kind.
func (a *accidents) next(c Cause) {
	accident, victims := a.of(c)
	if accident.PerDay == 0 {
		return
	}
	mean := 24 * time.Hour / time.Duration(victims)
	wait := time.Duration(float64(mean) / accident.PerDay * a.rng.ExpFloat64())
	a.queue.push(event{order: order(a.now+wait, timer), to: a.id, kind: happen, who: int32(a.rng.IntN(victims)), n: uint8(c)})
}

func (a *accidents) act(e event) {
	c := Cause(e.n)
	if e.kind == happen {
		accident, _ := a.of(c)
		a.happen(c, e.who, accident.Lasts.draw(a.rng))
		a.next(c)
		return
	}
	switch c {
	case ClientPause:
		if in := &a.instances[e.who]; in.paused && in.until[ClientPause] == a.now {
			a.account(e.who)
			in.paused = false
		}
	case Crash:
		a.restart(e.who)
	case Death:
		for _, i := range a.hosts[e.who] {
			a.instances[i].hostDown = false
			a.restart(i)
		}
	}
}

func (a *accidents) happen(c Cause, victim int32, length time.Duration) {
	var whom []int32
	switch c {
	case Crash, ClientPause:
		if !a.well(victim) {
			return
		}
		whom = []int32{victim}
	case Starvation, Death:
		whom = a.hosts[victim]
		if a.instances[whom[0]].hostDown {
			return
		}
	case RegistryPause:
		a.frozen = max(a.frozen, a.now+length)
		whom = a.places[CutAll][0]
	default:
		whom = a.places[c][victim]
	}
	a.counts[c]++
	for _, i := range whom {
		in := &a.instances[i]
		in.until[c] = max(in.until[c], a.now+length)
		switch c {
		case ClientPause:
			a.account(i)
			in.paused = true
		case Crash, Death:
			in.hostDown = c == Death
			a.crash(i, c)
		}
	}
	if c == Crash || c == Death || c == ClientPause {
		a.queue.push(event{order: order(a.now+length, timer), to: a.id, kind: pass, who: victim, n: uint8(c)})
	}
}

func (a *accidents) crash(i int32, c Cause) {
	in := &a.instances[i]
	if in.down {
		return
	}
	a.account(i)
	in.down, in.paused = true, false
	for _, actor := range a.actors {
		actor.figures().crashed(i, c)
		actor.stop(i)
	}
}

func (a *accidents) restart(i int32) {
	in := &a.instances[i]
	if !in.down || in.hostDown {
		return
	}
	a.account(i)
	in.down = false
	in.run++
	for _, actor := range a.actors {
		actor.figures().restarted(i)
		actor.start(i)
	}
}

// account has what was true of an instance until now counted.
func (a *accidents) account(i int32) {
	for _, actor := range a.actors {
		actor.figures().account(i)
	}
}

func (s Span) draw(rng *rand.Rand) time.Duration {
	if s.Most <= s.Least {
		return s.Least
	}
	return s.Least + time.Duration(rng.Int64N(int64(s.Most-s.Least)))
}
