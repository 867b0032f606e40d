// Package table shows registrations to people: in columns, in the words and units
// they use, and so that nothing which somebody registered can do anything to a
// terminal but be read.
package table

import (
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/rollcall-registry/rollcall"
)

// Table prints columns. Whatever a registration holds may be in a cell, so
// cells are cleaned, and an empty one is shown as a dash.
type Table struct{ w *tabwriter.Writer }

// New begins a table with its header.
func New(out io.Writer, header ...string) *Table {
	t := &Table{tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)}
	t.Row(header...)
	return t
}

// Row adds a row.
func (t *Table) Row(cells ...string) {
	for i, c := range cells {
		if c = Clean(c); c == "" {
			c = "-"
		}
		if i > 0 {
			io.WriteString(t.w, "\t")
		}
		io.WriteString(t.w, c)
	}
	io.WriteString(t.w, "\n")
}

// Flush prints what was added.
func (t *Table) Flush() error { return t.w.Flush() }

// Clean makes text safe for a terminal: control characters, with which it
// could rewrite what else is shown, are escaped.
func Clean(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, unsafeRune) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unsafeRune(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

func unsafeRune(r rune) bool { return !unicode.IsGraphic(r) }

// Humane shortens a duration to its two largest units.
func Humane(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Humane(-d)
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + "s"
	case d < time.Hour:
		return two(d, time.Minute, "m", time.Second, "s")
	case d < 24*time.Hour:
		return two(d, time.Hour, "h", time.Minute, "m")
	}
	return two(d, 24*time.Hour, "d", time.Hour, "h")
}

func two(d, large time.Duration, name string, small time.Duration, smaller string) string {
	s := strconv.Itoa(int(d/large)) + name
	if rest := d % large / small; rest > 0 {
		s += strconv.Itoa(int(rest)) + smaller
	}
	return s
}

// Ago returns how long something has been so.
func Ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return Humane(max(time.Since(t), 0).Truncate(time.Second))
}

// Ports lists ports by name; the default one goes without.
func Ports(ports map[string]uint16) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		p := strconv.Itoa(int(ports[name]))
		if name != rollcall.DefaultPort {
			p = name + "=" + p
		}
		parts = append(parts, p)
	}
	return strings.Join(parts, ",")
}

// Zone returns where an instance runs.
func Zone(l rollcall.Locality) string {
	parts := []string{l.Region, l.Zone, l.SubZone}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "/")
}

// Weight returns the weight in effect, and the one asked for if it differs.
func Weight(i *rollcall.Instance) string {
	asked := strconv.Itoa(int(i.WeightOrDefault()))
	if w := i.EffectiveWeight; w != nil && *w != i.WeightOrDefault() {
		return fmt.Sprintf("%d/%s", *w, asked)
	}
	return asked
}

// Status returns the verdict on an instance.
func Status(h *rollcall.Health) string {
	if h == nil {
		return ""
	}
	return h.Status.String()
}

// Health counts instances by status, best first.
func Health(counts map[rollcall.Status]int) string {
	var parts []string
	for _, s := range rollcall.Statuses() {
		if n := counts[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s=%d", s, n))
		}
	}
	return strings.Join(parts, " ")
}

// Endpoint returns the address of one port of an instance: that of the given
// name, or without a name the only one, or the default one.
func Endpoint(i *rollcall.Instance, name string) (string, error) {
	if name == "" {
		switch len(i.Ports) {
		case 0:
			return i.Address, nil
		case 1:
			for n := range i.Ports {
				name = n
			}
		default:
			name = rollcall.DefaultPort
		}
	}
	port, ok := i.Ports[name]
	if !ok {
		return "", fmt.Errorf("%s has no port %q but %s; choose one with --port NAME", i.ID, name, Ports(i.Ports))
	}
	return net.JoinHostPort(i.Address, strconv.Itoa(int(port))), nil
}
