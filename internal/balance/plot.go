package balance

import (
	"fmt"
	"io"
	"math"
)

// chart is a line for each policy over the loads. Its vertical axis is
// logarithmic.
type chart struct {
	title, vertical string
	least, most     float64
	ticks           []float64
	tick            string // how one is written
	lines           []line
}

type line struct {
	name   string
	values []float64 // one for each of Loads
}

const (
	chartWidth, chartHeight = 760.0, 460.0
	left, right             = 78.0, 740.0
	top, bottom             = 92.0, 400.0
)

// colors are those of Okabe and Ito, which the colour-blind can tell apart; ours
// is black.
var colors = []string{"#e69f00", "#bbbbbb", "#0072b2", "#cc79a7", "#56b4e9", "#009e73", "#d55e00", "#000000"}

// write draws the chart as SVG.
func (c *chart) write(w io.Writer) {
	out := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	x := func(load float64) float64 {
		return left + (right-left)*(load-Loads[0])/(Loads[len(Loads)-1]-Loads[0])
	}
	y := func(v float64) float64 {
		share := math.Log(v/c.least) / math.Log(c.most/c.least)
		return bottom - (bottom-top)*min(max(share, 0), 1)
	}
	out(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="13" fill="#222">`, chartWidth, chartHeight)
	out(`<title>%s</title><rect width="%g" height="%g" fill="#fff"/>`, c.title, chartWidth, chartHeight)
	out(`<text x="%g" y="24" font-size="16">%s</text>`, left, c.title)
	for _, load := range Loads {
		out(`<line x1="%.1f" y1="%g" x2="%.1f" y2="%g" stroke="#e4e4e4"/>`, x(load), top, x(load), bottom)
		out(`<text x="%.1f" y="%g" text-anchor="middle">%g</text>`, x(load), bottom+20, load)
	}
	for _, v := range c.ticks {
		out(`<line x1="%g" y1="%.1f" x2="%g" y2="%.1f" stroke="#e4e4e4"/>`, left, y(v), right, y(v))
		out(`<text x="%g" y="%.1f" text-anchor="end">`+c.tick+`</text>`, left-8, y(v)+4, v)
	}
	out(`<text x="%g" y="%g" text-anchor="middle">load, × allocation</text>`, (left+right)/2, bottom+44)
	out(`<text transform="translate(20 %g) rotate(-90)" text-anchor="middle">%s</text>`, (top+bottom)/2, c.vertical)
	for i, l := range c.lines {
		color, width := colors[i%len(colors)], 2.0
		if i == len(c.lines)-1 {
			width = 3.5
		}
		out(`<g fill="none" stroke="%s" stroke-width="%g"><polyline points="`, color, width)
		for j, v := range l.values {
			out("%.1f,%.1f", x(Loads[j]), y(v))
		}
		x, y := left+[]float64{0, 130, 240, 420}[i%4], 46+20*float64(i/4)
		out(`"/><line x1="%g" y1="%g" x2="%g" y2="%g"/></g>`, x, y, x+16, y)
		out(`<text x="%g" y="%g">%s</text>`, x+22, y+4, l.name)
	}
	out(`</svg>`)
}
