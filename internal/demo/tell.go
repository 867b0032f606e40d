package demo

import (
	"fmt"
	"net/url"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// Happening is one thing that was done to the fleet, and what came of it.
type Happening struct {
	Type string  `json:"type"` // "happening"
	AtMS float64 `json:"at_ms"`
	// Act is which: start, kill, drain, add, grown, nearest, moved, failover,
	// eject, slow or zone.
	Act  string `json:"act"`
	Text string `json:"text"`
	// Figures are what was measured, the first being how long it took to be known.
	Figures []Figure `json:"figures"`
	Nearest *Nearest `json:"nearest,omitempty"`
	// Broken are the promises that were not kept, in words; Kept is that there are
	// none.
	Broken []string `json:"broken,omitempty"`
	Kept   bool     `json:"kept"`
}

// Figure is one number that was measured.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"` // ms, %, or what is counted
	// Most is what was promised at most; nil is nothing.
	Most *float64 `json:"most,omitempty"`
}

func (f *Figure) kept() bool { return f.Most == nil || f.Value <= *f.Most }

func (f *Figure) value(v float64) string {
	switch {
	case f.Unit == "ms" && v >= 1000:
		return fmt.Sprintf("%.1f s", v/1000)
	case f.Unit == "ms" && v < 10:
		return fmt.Sprintf("%.1f ms", v)
	case f.Unit == "":
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.0f %s", v, f.Unit)
}

// Measured returns the number with its unit.
func (f *Figure) Measured() string { return f.value(f.Value) }

func (f *Figure) promise() string {
	switch {
	case f.Most == nil:
		return ""
	case *f.Most == 0:
		return "none"
	}
	return "≤ " + f.value(*f.Most)
}

// Verdict returns what was promised, and whether that was kept: "", "kept" or
// "broken".
func (f *Figure) Verdict() (promised, verdict string) {
	switch {
	case f.Most == nil:
		return "", ""
	case f.kept():
		return f.promise(), "kept"
	}
	return f.promise(), "broken"
}

// took is a figure of time, promised within most; 0 is no promise.
func took(name string, d, most time.Duration) Figure {
	f := Figure{Name: name, Value: milliseconds(d), Unit: "ms"}
	if most > 0 {
		limit := milliseconds(most)
		f.Most = &limit
	}
	return f
}

// count is a figure of things, of which there may be so many; most below 0 is
// no promise.
func count(name string, n, most int) Figure {
	f := Figure{Name: name, Value: float64(n)}
	if most >= 0 {
		limit := float64(most)
		f.Most = &limit
	}
	return f
}

func percent(name string, share float64) Figure {
	return Figure{Name: name, Value: 100 * share, Unit: "%"}
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// Nearest is an answer to who is nearest to a place, and where everybody was whom
// the filter selects.
type Nearest struct {
	City   string            `json:"city"`
	From   rollcall.Position `json:"from"`
	Filter string            `json:"filter"`
	// Answer are ids, the nearest first; Kilometres their distances.
	Answer     []string                     `json:"answer"`
	Kilometres []float64                    `json:"kilometres"`
	Positions  map[string]rollcall.Position `json:"positions"`
}

// Summary is what a demo came to.
type Summary struct {
	Type       string  `json:"type"` // "summary"
	DurationMS float64 `json:"duration_ms"`
	// Processes is how many there were; Requests how many were made of them, of
	// which Retried went to a second instance because the first failed, and Failed
	// there too. Late are those that were not made because too many were under way.
	Processes int `json:"processes"`
	Requests  int `json:"requests"`
	Retried   int `json:"retried"`
	Failed    int `json:"failed"`
	Late      int `json:"late"`

	Figures []ActFigures `json:"figures"`
	Left    []string     `json:"not_shown,omitempty"` // acts for which there was no time
	Broken  []string     `json:"broken,omitempty"`
	Kept    bool         `json:"kept"`
}

// ActFigures are the figures of one happening.
type ActFigures struct {
	Act     string   `json:"act"`
	Figures []Figure `json:"figures"`
}

// Look returns addresses of a registry with a demo in it, and what each shows.
func Look(base string) [][2]string {
	service := base + "/api/v1/services/"
	z := allZones()[0]
	return [][2]string{
		{service + "pricing?near=zone:eu/eu-1", "whom a caller in zone eu-1 should use"},
		{service + "pricing/why?near=zone:eu/eu-1", "and why not the others"},
		{service + "rides?near=" + z.point() + "&limit=3&filter=" + url.QueryEscape(filter), "the nearest drivers to " + z.city},
		{service + "pricing/watch?near=zone:eu/eu-1", "the same as it changes"},
		{base + "/api/v1/events?service=pricing", "who came, went and changed"},
		{base + "/api/v1/status", "the registry itself"},
	}
}
