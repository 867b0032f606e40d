package table

import (
	"io"
	"slices"
	"strconv"

	"github.com/rollcall-registry/rollcall"
)

// Instances returns the table of an answer. It has a column for what only some
// answers have: the distance of one that asked for the nearest, and the service of
// one whose instances are not all of the service that was asked for.
func Instances(out io.Writer, ans *rollcall.Answer) *Table {
	near, several := false, false
	own := rollcall.NewServiceKey(ans.Namespace, ans.Service)
	for n := range ans.Instances {
		i := &ans.Instances[n]
		near = near || i.Distance != nil
		several = several || i.Key().ServiceKey != own
	}
	columns := []struct {
		name string
		has  bool
		of   func(*rollcall.Instance) string
	}{
		{"SERVICE", several, func(i *rollcall.Instance) string { return Service(i.Namespace, i.Service) }},
		{"ID", true, func(i *rollcall.Instance) string { return i.ID }},
		{"ADDRESS", true, func(i *rollcall.Instance) string { return i.Address }},
		{"PORTS", true, func(i *rollcall.Instance) string { return Ports(i.Ports) }},
		{"HEALTH", true, func(i *rollcall.Instance) string { return Status(i.Health) }},
		{"ZONE", true, func(i *rollcall.Instance) string { return Zone(i.Locality) }},
		{"KM", near, func(i *rollcall.Instance) string { return Distance(i.Distance) }},
		{"WEIGHT", true, Weight},
		{"VERSION", true, func(i *rollcall.Instance) string { return i.Version }},
	}
	row := func(cell func(n int) string) (cells []string) {
		for n := range columns {
			if columns[n].has {
				cells = append(cells, cell(n))
			}
		}
		return cells
	}
	t := New(out, row(func(n int) string { return columns[n].name })...)
	for n := range ans.Instances {
		t.Row(row(func(c int) string { return columns[c].of(&ans.Instances[n]) })...)
	}
	return t
}

// Explanation returns the table of an explanation, with services if they may
// differ.
func Explanation(out io.Writer, x *rollcall.Explanation) *Table {
	several := slices.ContainsFunc(x.Instances, func(r rollcall.Reason) bool { return r.Service != "" })
	header := []string{"IN", "ID", "WEIGHT", "SINCE", "WHY"}
	if several {
		header = slices.Insert(header, 1, "SERVICE")
	}
	t := New(out, header...)
	for _, r := range x.Instances {
		in, weight := "no", ""
		if r.In {
			in, weight = "yes", strconv.Itoa(int(r.EffectiveWeight))
		}
		cells := []string{in, r.ID, weight, Ago(r.Health.Since), r.Why}
		if several {
			cells = slices.Insert(cells, 1, Service(r.Namespace, r.Service))
		}
		t.Row(cells...)
	}
	return t
}

// Service names a service, with its namespace unless that is the default one.
func Service(namespace, name string) string {
	if namespace == "" || namespace == rollcall.DefaultNamespace {
		return name
	}
	return namespace + "/" + name
}

// Distance returns how far it is, in kilometres; "" if that is not known.
func Distance(km *float64) string {
	if km == nil {
		return ""
	}
	return strconv.FormatFloat(*km, 'f', 1, 64)
}
