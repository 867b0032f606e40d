package table

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/rollcall-registry/rollcall"
)

// Shares returns the percents of a named query's split, and the services that it
// fails over to.
func Shares(q *rollcall.NamedQuery) (split, failover string) {
	var percents, services []string
	for _, s := range q.Split {
		percents = append(percents, percent(s.Percent))
	}
	for n := range q.Failover {
		services = append(services, asked(q, &q.Failover[n]))
	}
	return strings.Join(percents, " "), strings.Join(services, " ")
}

// Targets prints whom a named query asks, in order.
func Targets(out io.Writer, q *rollcall.NamedQuery) error {
	t := New(out, "ASKED", "SHARE", "SERVICE", "FILTER", "NEAR")
	row := func(when, share string, to *rollcall.QueryTarget, filters ...string) {
		near := to.Near
		if near == "" {
			near = q.Near
		}
		t.Row(when, share, asked(q, to), strings.Join(filters, " && "), near)
	}
	first := q.Target()
	if len(q.Split) == 0 {
		row("first", "100%", &first, first.Filter)
	}
	for n := range q.Split {
		s := &q.Split[n]
		switch {
		case q.Filter == "" || s.Filter == "":
			row("first", percent(s.Percent), &s.QueryTarget, q.Filter+s.Filter)
		default:
			row("first", percent(s.Percent), &s.QueryTarget, "("+q.Filter+")", "("+s.Filter+")")
		}
	}
	for n := range q.Failover {
		row(fmt.Sprintf("if fewer than %d", q.MinRoutable), "100%", &q.Failover[n], q.Failover[n].Filter)
	}
	return t.Flush()
}

// asked names a target's service, with its namespace where that is not the query's.
func asked(q *rollcall.NamedQuery, t *rollcall.QueryTarget) string {
	if strings.EqualFold(t.Namespace, q.Namespace) {
		return t.Service
	}
	return t.Namespace + "/" + t.Service
}

func percent(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) + "%" }
