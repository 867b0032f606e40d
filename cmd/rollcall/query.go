package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
)

// selection holds the flags that say which instances are wanted; resolve and
// watch share them.
type selection struct {
	query rollcall.Query
	caps  []string
	metas []string
	after string
}

func (s *selection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.query.Health, "health", "", "which `HEALTH`: routable (the default), any, or a status such as draining")
	f.StringArrayVar(&s.caps, "cap", nil, "only with the capability `NAME=VALUE` (repeatable)")
	f.StringArrayVar(&s.metas, "meta", nil, "only with the metadata `NAME=VALUE` (repeatable)")
	f.StringVar(&s.query.Filter, "filter", "", "only those for which the CEL `EXPRESSION` holds")
	f.StringVar(&s.query.Near, "near", "", "nearest first: `WHERE` is LAT,LON or zone:REGION/ZONE or instance:SERVICE/ID")
	f.IntVar(&s.query.Limit, "limit", 0, "at most `N`; 0 is all")
	f.StringVar(&s.query.Caller, "caller", "", "`NAME` of who asks, as \"rollcall watchers\" shows it")
	f.StringVar(&s.query.Subset, "subset", "", "the part of the instances that is always the same for this `CALLER`")
	f.IntVar(&s.query.SubsetSize, "subset-size", 0, "how many (`N`) are in the subset")
	f.StringVar(&s.after, "after", "", "go on from the `TOKEN` of an earlier answer")
}

// read returns the query of a command line.
func (s *selection) read(namespace, service string) (rollcall.Query, error) {
	q := s.query
	q.Namespace, q.Service = namespace, service
	var err error
	if q.Capability, err = matches("--cap", s.caps); err != nil {
		return q, err
	}
	if q.Metadata, err = matches("--meta", s.metas); err != nil {
		return q, err
	}
	if s.after != "" {
		if q.After, err = rollcall.ParseToken(s.after); err != nil {
			return q, usagef("--after: %v", err)
		}
	}
	return q, nil
}

func matches(flag string, pairs []string) ([]rollcall.Match, error) {
	var ms []rollcall.Match
	for _, p := range pairs {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, usagef("%s %q is not NAME=VALUE", flag, p)
		}
		ms = append(ms, rollcall.Match{Name: name, Value: value})
	}
	return ms, nil
}

// timeFlag is a flag that takes a point in time: RFC 3339, or a duration that
// means so long ago.
type timeFlag struct{ time.Time }

func (t *timeFlag) String() string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

func (t *timeFlag) Type() string { return "TIME" }

func (t *timeFlag) Set(s string) error {
	if d, err := time.ParseDuration(s); err == nil {
		t.Time = time.Now().Add(-d)
		return nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return usagef("write a time like 2006-01-02T15:04:05Z, or like 90m for so long ago")
	}
	t.Time = at
	return nil
}
