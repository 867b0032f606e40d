package flags

import (
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/rollcall-registry/rollcall"
)

// Selection holds the flags that say which instances are wanted; resolve, watch
// and why share them.
type Selection struct {
	query rollcall.Query
	caps  []string
	metas []string
	after string
}

// Add adds the flags to those of a verb.
func (s *Selection) Add(f *pflag.FlagSet) {
	f.StringVar(&s.query.Health, "health", "", "which `HEALTH`: routable (the default), any, or a status such as draining")
	f.StringArrayVar(&s.caps, "cap", nil, "only with the capability `NAME=VALUE` (repeatable)")
	f.StringArrayVar(&s.metas, "meta", nil, "only with the metadata `NAME=VALUE` (repeatable)")
	f.StringVar(&s.query.Filter, "filter", "", "only those for which the CEL `EXPRESSION` holds")
	f.StringVar(&s.query.Near, "near", "", "nearest first: `WHERE` is LAT,LON or zone:REGION/ZONE or instance:SERVICE/ID")
	f.IntVar(&s.query.Limit, "limit", 0, "at most `N`; 0 is all")
	f.StringVar(&s.query.Caller, "caller", "", "`NAME` of who asks, as \"rollcall watchers\" shows it")
	f.StringVar(&s.query.Subset, "subset", "", "the part of the instances that is always the same for this `CALLER`")
	f.IntVar(&s.query.SubsetSize, "subset-size", 0, "how many (`N`) are in the subset; at least 12, and 20 unless it is said")
	f.StringVar(&s.after, "after", "", "go on from the `TOKEN` of an earlier answer")
}

// AddPick adds the flag by which the registry chooses, for verbs that ask once.
func (s *Selection) AddPick(f *pflag.FlagSet) {
	f.IntVar(&s.query.Pick, "pick", 0, "let the registry choose by load: one, or with --pick=`N` so many")
	f.Lookup("pick").NoOptDefVal = "1"
}

// Read returns the query of a command line.
func (s *Selection) Read(namespace, service string) (rollcall.Query, error) {
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
			return q, Errorf("--after: %v", err)
		}
	}
	return q, nil
}

func matches(flag string, pairs []string) ([]rollcall.Match, error) {
	var ms []rollcall.Match
	for _, p := range pairs {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, Errorf("%s %q is not NAME=VALUE", flag, p)
		}
		ms = append(ms, rollcall.Match{Name: name, Value: value})
	}
	return ms, nil
}

// Time is a flag that takes a point in time: RFC 3339, or a duration that
// means so long ago.
type Time struct{ time.Time }

// String implements [pflag.Value].
func (t *Time) String() string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339)
}

// Type implements [pflag.Value].
func (t *Time) Type() string { return "TIME" }

// Set implements [pflag.Value].
func (t *Time) Set(s string) error {
	if d, err := time.ParseDuration(s); err == nil {
		t.Time = time.Now().Add(-d)
		return nil
	}
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return Errorf("write a time like 2006-01-02T15:04:05Z, or like 90m for so long ago")
	}
	t.Time = at
	return nil
}
