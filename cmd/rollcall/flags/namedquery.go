package flags

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rollcall-registry/rollcall"
)

// NamedQuery holds the flags that describe a query to be stored.
type NamedQuery struct {
	file     string
	split    []string
	failover []string
	query    rollcall.NamedQuery
}

// Add adds the flags to those of a verb.
func (x *NamedQuery) Add(f *pflag.FlagSet) {
	f.StringVarP(&x.file, "file", "f", "", "read the query from a JSON `FILE` (- is standard input); flags go before what it says")
	f.StringVarP(&x.query.Service, "service", "s", "", "`SERVICE` to ask first; without, the one that has the query's name")
	f.StringVar(&x.query.Filter, "filter", "", "only instances for which the CEL `EXPRESSION` holds")
	f.StringVar(&x.query.Near, "near", "", "nearest first: `WHERE` is LAT,LON or zone:REGION/ZONE or instance:SERVICE/ID")
	f.StringArrayVar(&x.split, "split", nil, "a share of the traffic, as `PERCENT[:FILTER]`, to the instances for which the filter holds (repeatable, 100 in all)")
	f.StringArrayVar(&x.failover, "failover", nil, "`[NAMESPACE/]SERVICE` to ask when too few instances are routable (repeatable, in order)")
	f.IntVar(&x.query.MinRoutable, "min-routable", 0, "how many (`N`) routable instances are enough not to fail over (default 1)")
	f.IntVar(&x.query.Limit, "limit", 0, "at most `N`, unless the caller says; 0 is all")
	f.IntVar(&x.query.SubsetSize, "subset-size", 0, "how many (`N`) are in a caller's subset, unless it says")
}

// Read returns the query that a command line with flags f describes; in is standard
// input.
func (x *NamedQuery) Read(in io.Reader, f *pflag.FlagSet) (q rollcall.NamedQuery, err error) {
	if !slices.ContainsFunc([]string{"file", "service", "filter", "near", "split", "failover", "min-routable", "limit", "subset-size"}, f.Changed) {
		return q, Errorf("say what the query asks, with --service, --split, --failover or others, or with --file; without any it would replace what is there by nothing")
	}
	if x.file != "" {
		if q, err = queryFile(in, x.file); err != nil {
			return q, err
		}
	}
	for name, pair := range map[string]struct{ to, from *string }{
		"service": {&q.Service, &x.query.Service}, "filter": {&q.Filter, &x.query.Filter}, "near": {&q.Near, &x.query.Near},
	} {
		if f.Changed(name) {
			*pair.to = *pair.from
		}
	}
	for name, pair := range map[string]struct{ to, from *int }{
		"min-routable": {&q.MinRoutable, &x.query.MinRoutable}, "limit": {&q.Limit, &x.query.Limit}, "subset-size": {&q.SubsetSize, &x.query.SubsetSize},
	} {
		if f.Changed(name) {
			*pair.to = *pair.from
		}
	}
	if f.Changed("split") {
		q.Split = nil
	}
	for _, s := range x.split {
		share, filter, _ := strings.Cut(s, ":")
		percent, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(share), "%"), 64)
		if err != nil {
			return q, Errorf("--split %q: write PERCENT or PERCENT:FILTER, like 10:version == \"2.0.0\"", s)
		}
		q.Split = append(q.Split, rollcall.Split{Percent: percent, QueryTarget: rollcall.QueryTarget{Filter: strings.TrimSpace(filter)}})
	}
	if f.Changed("failover") {
		q.Failover = nil
	}
	for _, s := range x.failover {
		t := rollcall.QueryTarget{Service: s}
		if namespace, service, ok := strings.Cut(s, "/"); ok {
			t.Namespace, t.Service = namespace, service
		}
		q.Failover = append(q.Failover, t)
	}
	return q, nil
}

// queryFile reads a named query from a JSON file.
func queryFile(in io.Reader, name string) (q rollcall.NamedQuery, err error) {
	b, err := readFile(in, name)
	if err != nil {
		return q, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&q); err != nil {
		return q, fmt.Errorf("%s: it is not a named query in JSON: %w", name, err)
	}
	if dec.More() {
		return q, fmt.Errorf("%s: it holds more than one JSON document", name)
	}
	return q, nil
}
