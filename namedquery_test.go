package rollcall

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const splitAndFailover = `{"name":"payments","service":"payments","filter":"cap.region_ok == true",` +
	`"split":[{"percent":90,"filter":"version == \"1.4.0\""},{"percent":10,"filter":"cap.canary == true"}],` +
	`"failover":[{"service":"payments-dr"},{"namespace":"eu","service":"payments"}],` +
	`"min_routable":2,"near":"zone:eu-west/eu-west-1a","limit":10,"subset_size":20}`

func namedQuery(t *testing.T, text string) *NamedQuery {
	t.Helper()
	q := new(NamedQuery)
	if err := json.Unmarshal([]byte(text), q); err != nil {
		t.Fatal(err)
	}
	return q
}

// What is stored in files and sent by clients keeps its form.
func TestNamedQueryJSON(t *testing.T) {
	b, err := json.Marshal(namedQuery(t, splitAndFailover))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(splitAndFailover, string(b)); diff != "" {
		t.Error(diff)
	}
}

func TestNamedQueryNormalize(t *testing.T) {
	q := namedQuery(t, `{"name":"Pay","split":[{"percent":60},{"percent":40,"service":"b"}],"failover":[{"namespace":"eu"},{"filter":"x"}]}`)
	q.Normalize()
	want := &NamedQuery{
		Namespace: "default", Name: "Pay", Service: "Pay", MinRoutable: 1,
		Split: []Split{
			{60, QueryTarget{Namespace: "default", Service: "Pay"}},
			{40, QueryTarget{Namespace: "default", Service: "b"}},
		},
		Failover: []QueryTarget{{Namespace: "eu", Service: "Pay"}, {Namespace: "default", Service: "Pay", Filter: "x"}},
	}
	if diff := cmp.Diff(want, q); diff != "" {
		t.Error(diff)
	}
	if err := q.Validate(DefaultLimits()); err != nil {
		t.Error(err)
	}
	if key := q.Split[0].Key(); key != NewServiceKey("", "pay") {
		t.Errorf("the first target is %v", key)
	}
}

func TestNamedQueryValidate(t *testing.T) {
	for field, spoil := range map[string]func(*NamedQuery){
		"name":                  func(q *NamedQuery) { q.Name = "a b" },
		"namespace":             func(q *NamedQuery) { q.Namespace = "-" },
		"service":               func(q *NamedQuery) { q.Service = "a/b" },
		"filter":                func(q *NamedQuery) { q.Filter = strings.Repeat("x", 4097) },
		"near":                  func(q *NamedQuery) { q.Near = strings.Repeat("x", 513) },
		"split":                 func(q *NamedQuery) { q.Split[0].Percent = 89.98 },
		"split[0].percent":      func(q *NamedQuery) { q.Split[0].Percent, q.Split[1].Percent = 0, 100 },
		"split[1].percent":      func(q *NamedQuery) { q.Split[1].Percent = math.NaN() },
		"split[1].filter":       func(q *NamedQuery) { q.Split[1].Filter = "\xff" },
		"split[0].service":      func(q *NamedQuery) { q.Split[0].Service = "_" },
		"failover[1].service":   func(q *NamedQuery) { q.Failover[1].Service = strings.Repeat("x", 129) },
		"failover[0].namespace": func(q *NamedQuery) { q.Failover[0].Namespace = "é" },
		"failover[0].near":      func(q *NamedQuery) { q.Failover[0].Near = "\xff" },
		"failover":              func(q *NamedQuery) { q.Failover = make([]QueryTarget, 11) },
		"min_routable":          func(q *NamedQuery) { q.MinRoutable = -1 },
		"limit":                 func(q *NamedQuery) { q.Limit = 1_000_001 },
		"subset_size":           func(q *NamedQuery) { q.SubsetSize = -1 },
	} {
		q := namedQuery(t, splitAndFailover)
		spoil(q)
		q.Normalize()
		var e *Error
		if err := q.Validate(DefaultLimits()); !errors.As(err, &e) || e.Field != field || e.Kind != ErrInvalid {
			t.Errorf("%v, want one that names %s", err, field)
		}
	}
	q := &NamedQuery{Name: "x", Split: make([]Split, 11)}
	for n := range q.Split {
		q.Split[n].Percent = 100. / 11
	}
	q.Normalize()
	var e *Error
	if err := q.Validate(DefaultLimits()); !errors.As(err, &e) || e.Field != "split" {
		t.Errorf("eleven splits: %v", err)
	}
	q.Split = q.Split[:3]
	for n := range q.Split {
		q.Split[n].Percent = 33.33
	}
	if err := q.Validate(DefaultLimits()); err != nil {
		t.Errorf("three thirds: %v", err)
	}
}

func TestNamedQuerySame(t *testing.T) {
	q := namedQuery(t, splitAndFailover)
	o := q.Clone()
	if o.Revision, o.By = 7, "somebody"; !q.Same(o) {
		t.Error("who stored it makes another query of it")
	}
	for name, change := range map[string]func(*NamedQuery){
		"name":     func(q *NamedQuery) { q.Name = "Payments" },
		"filter":   func(q *NamedQuery) { q.Filter = "" },
		"near":     func(q *NamedQuery) { q.Near = "" },
		"split":    func(q *NamedQuery) { q.Split[1].Filter = "" },
		"percent":  func(q *NamedQuery) { q.Split[1].Percent = 11 },
		"failover": func(q *NamedQuery) { q.Failover[0].Namespace = "us" },
		"least":    func(q *NamedQuery) { q.MinRoutable = 3 },
		"limit":    func(q *NamedQuery) { q.Limit = 3 },
		"subset":   func(q *NamedQuery) { q.SubsetSize = 3 },
	} {
		o := q.Clone()
		if change(o); q.Same(o) {
			t.Errorf("with another %s it is the same", name)
		}
	}
	if diff := cmp.Diff(namedQuery(t, splitAndFailover), q); diff != "" {
		t.Errorf("a clone shares memory with it:\n%s", diff)
	}
}
