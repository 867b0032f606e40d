package load

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// fleet is a service and its callers, in virtual time. Each caller reports every
// 5 s, at a second of its own, how its requests to each instance that is not
// ejected went.
type fleet struct {
	instances, callers int
	requests           int // of one caller to one instance between two reports
	// fails is the share of requests that fail, times how many more of them there
	// are than elsewhere, or are said to be. nil is none, and once.
	fails func(caller, instance int) float64
	times func(caller, instance int) int
	quiet func(caller int) bool
	from  func(caller int) netip.Addr // nil: each has an address of its own
	luck  *rand.Rand                  // if set, fails is a chance

	o      *Outliers
	began  time.Time
	now    time.Time
	told   []told
	ejects map[string]bool // who is ejected
	most   int             // at once
}

type told struct {
	at time.Duration // since it began
	Verdict
}

func (f *fleet) start() *fleet {
	f.began = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.now = f.began
	f.ejects = map[string]bool{}
	random := rand.New(rand.NewPCG(1, 2))
	f.o = NewOutliers(OutlierOptions{Now: func() time.Time { return f.now }, Rand: random.Float64})
	return f
}

// chance draws how many of n requests fail: how many succeed before each that
// does is geometrically distributed.
func (f *fleet) chance(n int, share float64) (errors int) {
	for left := float64(n); ; errors++ {
		if left -= 1 + math.Floor(math.Log(1-f.luck.Float64())/math.Log(1-share)); left < 0 {
			return errors
		}
	}
}

func (f *fleet) at(c int) netip.Addr {
	if f.from != nil {
		return f.from(c)
	}
	return netip.AddrFrom4([4]byte{10, 0, byte(c >> 8), byte(c)})
}

func id(n int) string { return "i-" + strconv.Itoa(n) }

func (f *fleet) report(c int) *rollcall.CallerReport {
	r := &rollcall.CallerReport{Caller: "c-" + strconv.Itoa(c), Window: rollcall.Duration(5 * time.Second)}
	for i := range f.instances {
		n, share := f.requests, 0.0
		if f.times != nil {
			n *= f.times(c, i)
		}
		if f.fails != nil {
			share = f.fails(c, i)
		}
		errors := int(math.Round(float64(n) * share))
		if f.luck != nil {
			errors = f.chance(n, share)
		}
		if !f.ejects[id(i)] {
			r.Instances = append(r.Instances, rollcall.Outcome{ID: id(i), OK: n - errors, Errors: errors})
		}
	}
	return r
}

// run lets time pass, second by second.
func (f *fleet) run(d time.Duration) {
	for end := f.now.Add(d); f.now.Before(end); f.now = f.now.Add(time.Second) {
		second := int(f.now.Sub(f.began) / time.Second)
		sweep := second%10 == 9
		for c := range f.callers {
			if (second+c)%5 == 0 && (f.quiet == nil || !f.quiet(c)) {
				sweep = f.o.Report(service, f.at(c), f.report(c)) || sweep
			}
		}
		if sweep {
			f.sweep()
		}
	}
}

func (f *fleet) sweep() {
	for _, v := range f.o.Sweep(func(rollcall.ServiceKey) int { return f.instances }) {
		f.told = append(f.told, told{f.now.Sub(f.began), v})
		f.ejects[v.Key.ID] = v.Eject
	}
	at := 0
	for _, is := range f.ejects {
		if is {
			at++
		}
	}
	f.most = max(f.most, at)
}

// ejections lists who was ejected, in order.
func (f *fleet) ejections() (ids []string) {
	for _, v := range f.told {
		if v.Eject {
			ids = append(ids, v.Key.ID)
		}
	}
	return ids
}

// on returns a function that is share for one instance as some callers see it.
func on(instance int, share float64, callers ...int) func(c, i int) float64 {
	return func(c, i int) float64 {
		if i == instance && (len(callers) == 0 || slices.Contains(callers, c)) {
			return share
		}
		return 0.01
	}
}

// at returns a function that has some callers at one address, "" for none, and the
// others each at its own.
func at(address string, callers ...int) func(c int) netip.Addr {
	there, _ := netip.ParseAddr(address)
	return func(c int) netip.Addr {
		if slices.Contains(callers, c) {
			return there
		}
		return new(fleet).at(c)
	}
}

// within has each of some callers at an address of its own in one IPv6 network.
func within(callers ...int) func(c int) netip.Addr {
	return func(c int) netip.Addr {
		if slices.Contains(callers, c) {
			return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 8: byte(c), 15: 1})
		}
		return new(fleet).at(c)
	}
}
