package record

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/nest"
)

// appendQuery appends the body of a query that is stored under a key. The name is
// always there, so that the body is not empty.
func appendQuery(b []byte, key rollcall.ServiceKey, q *rollcall.NamedQuery) []byte {
	b = appendTextAlways(b, 1, q.Name)
	if q.Namespace != key.Namespace {
		b = appendText(b, 2, q.Namespace)
	}
	b = appendText(b, 3, q.Service)
	b = appendText(b, 4, q.Filter)
	b = appendText(b, 5, q.Near)
	for n := range q.Split {
		var at, target int
		b, at = nest.Open(b, 6)
		b = appendDouble(b, 1, q.Split[n].Percent)
		b, target = nest.Open(b, 2)
		b = nest.Shut(nest.Shut(appendTarget(b, &q.Split[n].QueryTarget), target), at)
	}
	for n := range q.Failover {
		var at int
		b, at = nest.Open(b, 7)
		b = nest.Shut(appendTarget(b, &q.Failover[n]), at)
	}
	for i, n := range []int{q.MinRoutable, q.Limit, q.SubsetSize} {
		b = appendInt(b, 8+protowire.Number(i), uint64(n))
	}
	return b
}

func appendTarget(b []byte, t *rollcall.QueryTarget) []byte {
	b = appendText(b, 1, t.Namespace)
	b = appendText(b, 2, t.Service)
	b = appendText(b, 3, t.Filter)
	return appendText(b, 4, t.Near)
}

func parseQuery(key rollcall.ServiceKey, body string) (v rollcall.QueryPut, err error) {
	q := &rollcall.NamedQuery{Namespace: key.Namespace}
	if n := count(body, 6); n > 0 {
		q.Split = make([]rollcall.Split, 0, n)
	}
	if n := count(body, 7); n > 0 {
		q.Failover = make([]rollcall.QueryTarget, 0, n)
	}
	err = each(body, func(f field) error {
		switch f.num {
		case 1:
			q.Name = f.s
		case 2:
			q.Namespace = f.s
		case 3:
			q.Service = f.s
		case 4:
			q.Filter = f.s
		case 5:
			q.Near = f.s
		case 6:
			s, err := parseSplit(f.s)
			q.Split = append(q.Split, s)
			return err
		case 7:
			t, err := parseTarget(f.s)
			q.Failover = append(q.Failover, t)
			return err
		case 8:
			q.MinRoutable = int(f.n)
		case 9:
			q.Limit = int(f.n)
		case 10:
			q.SubsetSize = int(f.n)
		}
		return nil
	})
	return rollcall.QueryPut{Name: key, Query: q}, err
}

func parseSplit(s string) (p rollcall.Split, err error) {
	err = each(s, func(f field) error {
		switch f.num {
		case 1:
			p.Percent = f.float()
		case 2:
			p.QueryTarget, err = parseTarget(f.s)
			return err
		}
		return nil
	})
	return p, err
}

func parseTarget(s string) (t rollcall.QueryTarget, err error) {
	err = each(s, func(f field) error {
		switch f.num {
		case 1:
			t.Namespace = f.s
		case 2:
			t.Service = f.s
		case 3:
			t.Filter = f.s
		case 4:
			t.Near = f.s
		}
		return nil
	})
	return t, err
}
