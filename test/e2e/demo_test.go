//go:build e2e

package e2e

import (
	"cmp"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

// happening is a line that rollcall demo --json prints.
type happening struct {
	Type    string
	Act     string
	Text    string
	Figures []struct {
		Name  string
		Value float64
	}
	Nearest *struct {
		From      rollcall.Position
		Answer    []string
		Positions map[string]rollcall.Position
	}
	Broken   []string
	Kept     bool
	Requests int
	Failed   int
	NotShown []string `json:"not_shown"`
}

// figure returns the number that is called so.
func (h *happening) figure(t *testing.T, name string) float64 {
	t.Helper()
	for _, f := range h.Figures {
		if f.Name == name {
			return f.Value
		}
	}
	t.Fatalf("%s has no figure %q: %+v", h.Act, name, h.Figures)
	return 0
}

// What the demo shows is as promised, by the limits of this test rather than its own.
func TestDemo(t *testing.T) {
	path, err := filepath.Abs(*process.Binary)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), path, "demo", "--json", "--duration", "90s", "--http", "127.0.0.1:0")
	cmd.Env = append(cmd.Environ(), "TMPDIR="+dir)
	var wrong strings.Builder
	cmd.Stderr = &wrong
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; build it with make build", err)
	}
	acts := map[string]*happening{}
	var summary *happening
	for d := json.NewDecoder(out); d.More(); {
		h := new(happening)
		if err := d.Decode(h); err != nil {
			t.Fatal(err)
		}
		t.Log(h.Act, h.Text)
		for _, b := range h.Broken {
			t.Error(b)
		}
		switch h.Type {
		case "happening":
			if acts[h.Act] = h; h.Act == "zone" { // the last; the duration is there for when it does not come
				cmd.Process.Signal(os.Interrupt)
			}
		case "summary":
			summary = h
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v\n%s", err, wrong.String())
	}
	if summary == nil || !summary.Kept || len(summary.NotShown) > 0 || summary.Failed > 0 || summary.Requests < 1000 {
		t.Fatalf("%+v", summary)
	}
	for _, limit := range []struct {
		act, figure string
		most        float64
	}{
		{"kill", "out of every view", 1000},
		{"kill", "requests lost", 0},
		{"drain", "watchers that did not", 0},
		{"drain", "failed requests", 0},
		{"add", "seen by all watchers", 1000},
		{"grown", "weight then", 50},
		{"moved", "seen by who watches the nearest", 3000},
		{"failover", "the other answers", 1000},
		{"eject", "kept away from", 15_000},
		{"slow", "half of its share", 8000},
		{"zone", "out of every view", 5000},
		{"zone", "crossing before", 0},
	} {
		h := acts[limit.act]
		if h == nil {
			t.Fatalf("nothing was told of %s", limit.act)
		}
		if got := h.figure(t, limit.figure); got > limit.most {
			t.Errorf("%s: %s: %v, not at most %v", limit.act, limit.figure, got, limit.most)
		}
	}
	// Of two of four that are left each bears 1.4 times its share; the rest crosses.
	if got := acts["zone"].figure(t, "crossing after, by weight"); math.Abs(got-30) > 5 {
		t.Errorf("%v %% cross the zone", got)
	}
	n := acts["nearest"].Nearest
	if want := nearestByHand(n.From, n.Positions)[:3]; !slices.Equal(n.Answer, want) {
		t.Errorf("the nearest are %v, not %v", want, n.Answer)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

// nearestByHand orders positions by the angle at the centre of the earth between
// them and a place.
func nearestByHand(at rollcall.Position, positions map[string]rollcall.Position) (ids []string) {
	vector := func(p rollcall.Position) (v [3]float64) {
		lat, lon := p.Lat*math.Pi/180, p.Lon*math.Pi/180
		return [3]float64{math.Cos(lat) * math.Cos(lon), math.Cos(lat) * math.Sin(lon), math.Sin(lat)}
	}
	chord := func(id string) (sum float64) {
		a, b := vector(at), vector(positions[id])
		for n := range a {
			sum += (a[n] - b[n]) * (a[n] - b[n])
		}
		return sum
	}
	for id := range positions {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(chord(a), chord(b)) })
	return ids
}
