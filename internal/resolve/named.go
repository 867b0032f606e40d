package resolve

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"

	"github.com/rollcall-registry/rollcall"
)

// CompileNamed turns a query of a named query's name into a plan. What the caller
// asks for comes on top of what the named query says: conditions are added, and a
// place, limit or subset of the caller's own replaces the named query's.
func (c *Compiler) CompileNamed(nq *rollcall.NamedQuery, q *rollcall.Query) (*Plan, error) {
	asked := *q
	asked.Near = cmp.Or(q.Near, nq.Near)
	asked.Limit = cmp.Or(q.Limit, nq.Limit)
	if asked.Pick > 0 && q.Limit == 0 {
		asked.Limit = 0
	}
	usable := q.Health == "" || q.Health == rollcall.HealthRoutable
	if asked.Subset == "" && nq.SubsetSize > 0 && q.Pick == 0 && usable {
		asked.Subset = q.Caller
	}
	if asked.Subset != "" {
		asked.SubsetSize = cmp.Or(q.SubsetSize, nq.SubsetSize)
	}
	p := &Plan{named: nq, least: max(1, nq.MinRoutable)}
	if err := p.read(&asked); err != nil {
		return nil, err
	}
	definition := strconv.FormatUint(uint64(nq.Revision), 10) + " "
	p.text = definition + asked.Selection()
	if asked.Subset != "" {
		every := asked
		every.Subset = ""
		p.everybodys = definition + every.Selection()
	}
	for _, text := range []string{q.Filter, nq.Filter} { // which are of no part
		if err := c.filter(&branch{}, text); err != nil {
			return nil, err
		}
	}
	parts := nq.Split
	if len(parts) == 0 {
		parts = []rollcall.Split{{Percent: 100, QueryTarget: nq.Target()}}
	}
	for n := range parts {
		b, err := c.branch(q, &parts[n].QueryTarget, nq.Filter)
		if err != nil {
			return nil, under("split", n, err)
		}
		b.share = parts[n].Percent / 100
		p.branches = append(p.branches, b)
	}
	for n := range nq.Failover {
		b, err := c.branch(q, &nq.Failover[n], "")
		if err != nil {
			return nil, under("failover", n, err)
		}
		b.share = 1
		p.failover = append(p.failover, b)
	}
	return p, nil
}

// branch compiles what a target asks, with a filter beside its own, and what a
// caller does.
func (c *Compiler) branch(q *rollcall.Query, t *rollcall.QueryTarget, beside string) (b branch, err error) {
	b.service = t.Key()
	if t.Near != "" && q.Near == "" {
		if b.near, err = parseNear(t.Namespace, t.Near); err != nil {
			return b, err
		}
	}
	if beside != t.Filter {
		err = c.filter(&b, beside)
	}
	if err == nil {
		err = c.filter(&b, t.Filter)
	}
	if err != nil {
		return b, err
	}
	return b, c.conditions(&b, q)
}

// under says in which part of a named query an error is.
func under(list string, n int, err error) error {
	if e, ok := errors.AsType[*rollcall.Error](err); ok {
		in := *e
		in.Field = fmt.Sprintf("%s[%d].%s", list, n, e.Field)
		return &in
	}
	return err
}

// Check reports what is wrong with a named query that has been validated: an
// expression or a place in it.
func (c *Compiler) Check(nq *rollcall.NamedQuery) error {
	_, err := c.CompileNamed(nq, &rollcall.Query{Namespace: nq.Namespace, Service: nq.Name, Caller: "any"})
	return err
}
