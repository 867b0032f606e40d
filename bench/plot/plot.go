// Package plot draws charts of lines as SVG, with nothing but what they need: axes with
// units, linear or logarithmic, and for each point its median and its range.
package plot

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Chart is some lines over one another.
type Chart struct {
	Name   string // of the file, without its ending
	Title  string
	X, Y   Axis
	Lines  []Line
	Target float64 // a line across, for what is to be reached; 0 is none
}

// Axis is one of the two directions.
type Axis struct {
	Label string // with the unit
	Log   bool
}

// Line is what was measured of one system.
type Line struct {
	Name   string
	Points []Point
}

// Point is a median and how far its rounds were apart.
type Point struct{ X, Y, Least, Most float64 }

const (
	width, height            = 760, 440
	left, right, top, bottom = 86, 24, 64, 58
)

// colors can be told apart by most who see colours badly.
var colors = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7"}

// Draw writes the chart as SVG.
func (c Chart) Draw(w io.Writer) error {
	var all []Point
	for i := range c.Lines {
		slices.SortFunc(c.Lines[i].Points, func(a, b Point) int { return cmp.Compare(a.X, b.X) })
		all = append(all, c.Lines[i].Points...)
	}
	if len(all) == 0 {
		return fmt.Errorf("%s: nothing to draw", c.Name)
	}
	x, y := c.scales(all)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13" fill="#222">`+"\n", width, height)
	fmt.Fprintf(&b, `<title>%s</title><rect width="%d" height="%d" fill="#fff"/>`+"\n", html.EscapeString(c.Title), width, height)
	text(&b, left, 24, "start", 16, c.Title)
	for _, v := range x.ticks {
		at := x.at(v)
		stroke(&b, at, top, at, height-bottom, "#e4e4e4", "")
		text(&b, at, height-bottom+20, "middle", 13, Amount(v))
	}
	for _, v := range y.ticks {
		at := y.at(v)
		stroke(&b, left, at, width-right, at, "#e4e4e4", "")
		text(&b, left-8, at+4, "end", 13, Amount(v))
	}
	stroke(&b, left, height-bottom, width-right, height-bottom, "#555", "")
	stroke(&b, left, top, left, height-bottom, "#555", "")
	text(&b, (left+width-right)/2, height-14, "middle", 13, c.X.Label)
	fmt.Fprintf(&b, `<text transform="translate(20 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", (top+height-bottom)/2, html.EscapeString(c.Y.Label))
	if c.Target > 0 {
		at := y.at(c.Target)
		stroke(&b, left, at, width-right, at, "#777", "6 4")
		text(&b, width-right-4, at-6, "end", 12, "target "+Amount(c.Target))
	}
	at := float64(left)
	for i, l := range c.Lines {
		color := colors[i%len(colors)]
		l.draw(&b, x, y, color, c.above(i))
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="14" height="4" fill="%s"/>`+"\n", at, 43, color)
		text(&b, at+20, 50, "start", 13, l.Name)
		at += 48 + 7.2*float64(len(l.Name))
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// above returns where, beside line i, there is one that is higher.
func (c Chart) above(i int) map[float64]bool {
	higher := map[float64]bool{}
	for _, p := range c.Lines[i].Points {
		for j, l := range c.Lines {
			for _, q := range l.Points {
				if q.X == p.X && j != i && q.Y > p.Y {
					higher[p.X] = true
				}
			}
		}
	}
	return higher
}

// draw draws the line with its ranges and points, and the amount at each point: below it
// where there is another line above.
func (l Line) draw(b *strings.Builder, x, y scale, color string, below map[float64]bool) {
	var path []string
	for _, p := range l.Points {
		path = append(path, fmt.Sprintf("%.1f,%.1f", x.at(p.X), y.at(p.Y)))
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(path, " "), color)
	for _, p := range l.Points {
		at := x.at(p.X)
		if p.Least < p.Most {
			stroke(b, at, y.at(p.Least), at, y.at(p.Most), color, "")
		}
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", at, y.at(p.Y), color)
		label := y.at(p.Y) - 9
		if below[p.X] {
			label += 26
		}
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" font-size="11" text-anchor="middle" fill="%s" stroke="#fff" stroke-width="3" paint-order="stroke">%s</text>`+"\n",
			at, label, color, Amount(p.Y))
	}
}

// scale turns amounts into places on the page.
type scale struct {
	log        bool
	low, high  float64 // amounts
	from, upTo float64 // places
	ticks      []float64
}

func (s scale) at(v float64) float64 {
	low, high := s.low, s.high
	if s.log {
		v, low, high = math.Log(max(v, s.low)), math.Log(low), math.Log(high)
	}
	return s.from + (v-low)/(high-low)*(s.upTo-s.from)
}

// scales returns scales that hold all points. On a logarithmic x axis what was measured
// is what is marked.
func (c Chart) scales(all []Point) (x, y scale) {
	var xs, ys []float64
	for _, p := range all {
		xs = append(xs, p.X)
		ys = append(ys, p.Y, max(p.Y, p.Most))
		if p.Least > 0 {
			ys = append(ys, p.Least)
		}
	}
	if c.Target > 0 {
		ys = append(ys, c.Target)
	}
	x, y = axis(xs, c.X.Log), axis(ys, c.Y.Log)
	if c.X.Log {
		slices.Sort(xs)
		x.ticks = slices.Compact(xs)
	}
	x.from, x.upTo = left, width-right
	if c.X.Log { // not on the edge
		x.low, x.high = x.ticks[0]*0.8, x.ticks[len(x.ticks)-1]*1.25
	}
	y.from, y.upTo = height-bottom, top
	return x, y
}

// axis returns ticks that hold all values: from 0, or 1, 2 and 5 times powers of ten.
func axis(values []float64, log bool) (s scale) {
	s.log = log
	low, high := slices.Min(values), slices.Max(values)
	if !log {
		step := round125(high / 5)
		for v := 0.0; ; v += step {
			s.ticks = append(s.ticks, v)
			if v >= high {
				break
			}
		}
		s.high = s.ticks[len(s.ticks)-1]
		return s
	}
	for decade := math.Pow(10, math.Floor(math.Log10(low)+1e-9)); ; decade *= 10 {
		for _, m := range []float64{1, 2, 5} {
			if v := decade * m; v*2.5 > low { // the next one is no more than that
				s.ticks = append(s.ticks, v)
				if v >= high {
					s.low, s.high = s.ticks[0], v
					return s
				}
			}
		}
	}
}

// round125 rounds up to 1, 2 or 5 times a power of ten.
func round125(v float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*decade >= v*(1-1e-9) {
			return m * decade
		}
	}
	return 10 * decade
}

// Amount writes a number as short as it can be read: 1.5, 20, 300, 10k, 1M.
func Amount(v float64) string {
	switch {
	case v >= 1e6:
		return trim(v/1e6) + "M"
	case v >= 10_000 || v >= 1000 && v == math.Trunc(v/1000)*1000:
		return trim(v/1000) + "k"
	}
	return trim(v)
}

func trim(v float64) string {
	digits := 0
	switch {
	case v == 0:
	case v < 1:
		digits = 2
	case v < 100:
		digits = 1
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if digits > 0 {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

func text(b *strings.Builder, x, y float64, anchor string, size int, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" font-size="%d">%s</text>`+"\n", x, y, anchor, size, html.EscapeString(s))
}

func stroke(b *strings.Builder, x1, y1, x2, y2 float64, color, dashes string) {
	if dashes != "" {
		dashes = ` stroke-dasharray="` + dashes + `"`
	}
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"%s/>`+"\n", x1, y1, x2, y2, color, dashes)
}
