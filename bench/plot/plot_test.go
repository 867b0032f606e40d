package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

// TestDraw: what is drawn is XML, has its labels, and every point is on the page.
func TestDraw(t *testing.T) {
	c := Chart{
		Name: "x", Title: "a < b", X: Axis{"instances", true}, Y: Axis{"ms", true}, Target: 200,
		Lines: []Line{{"rollcall", []Point{{1e6, 3, 2.5, 4}, {1000, 0.7, 0.7, 0.7}}}, {"etcd", []Point{{1000, 40, 30, 900}}}},
	}
	var b strings.Builder
	if err := c.Draw(&b); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(strings.NewReader(b.String())); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"a &lt; b", ">1M<", ">1k<", ">rollcall<", ">etcd<", "target 200"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is missing", want)
		}
	}
	x, y := c.scales(append(c.Lines[0].Points, c.Lines[1].Points...))
	for _, l := range c.Lines {
		for _, p := range l.Points {
			if at := x.at(p.X); at < left || at > width-right {
				t.Errorf("x of %v: %v", p, at)
			}
			for _, v := range []float64{p.Y, p.Least, p.Most} {
				if at := y.at(v); at < top-1 || at > height-bottom+1 {
					t.Errorf("y of %v: %v", v, at)
				}
			}
		}
	}
	if err := (Chart{}).Draw(io.Discard); err == nil {
		t.Error("nothing is drawn")
	}
}

func TestAxis(t *testing.T) {
	if s := axis([]float64{3, 87}, false); !slices.Equal(s.ticks, []float64{0, 20, 40, 60, 80, 100}) {
		t.Errorf("linear: %v", s.ticks)
	}
	if s := axis([]float64{3, 87}, true); !slices.Equal(s.ticks, []float64{2, 5, 10, 20, 50, 100}) {
		t.Errorf("logarithmic: %v", s.ticks)
	}
	s := axis([]float64{0.2, 10}, true)
	s.from, s.upTo = 0, 1
	if got := s.at(1); math.Abs(got-0.5) > 0.01 {
		t.Errorf("1 is at %v between 0.1 and 10", got)
	}
	for v, want := range map[float64]string{0: "0", 0.25: "0.25", 1.5: "1.5", 1000: "1k", 1234: "1234", 34_567: "34.6k", 1e6: "1M", 200: "200"} {
		if got := Amount(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
