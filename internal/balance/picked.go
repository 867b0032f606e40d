package balance

import (
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/balancer"
	"github.com/rollcall-registry/rollcall/internal/resolve"
)

// picked asks the registry for each request: what a caller does that has nothing
// but curl. All callers share it.
type picked struct {
	*registry
	plan *resolve.Plan
}

// Asked returns what the registry does that all callers ask, pick=1, for each
// request.
func Asked() Policy {
	return Policy{Name: "Rollcall, pick=1", weigher: rollcalls, caller: newPicked, delay: askDelay}
}

func newPicked(s *sim, r *rand.Rand, _ string) policy {
	if len(s.policies) > 0 {
		return s.policies[0]
	}
	plan, err := resolve.NewCompiler().Compile(&rollcall.Query{Pick: 1})
	if err != nil {
		panic(err)
	}
	s.registry.world.Rand = r.Float64
	return &picked{s.registry, plan}
}

func (p *picked) update([]uint16) {}

func (p *picked) pick() (int32, balancer.Pick) {
	r, err := p.plan.Evaluate(service, &p.world)
	if err != nil || len(r.Endpoints) == 0 {
		panic("nobody to pick")
	}
	n, err := strconv.Atoi(r.Endpoints[0].Item.ID())
	if err != nil {
		panic(err)
	}
	return int32(n), balancer.Pick{}
}

func (p *picked) done(int32, balancer.Pick, time.Duration, bool) {}
func (p *picked) probes(to []int32) []int32                      { return to }
func (p *picked) answer(int32, int32, time.Duration)             {}
