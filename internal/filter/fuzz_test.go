package filter

import (
	"errors"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// FuzzFilter compiles what it is given and asks it about three instances. A time
// is only wrong here if it is out of all proportion: what is bounded takes
// milliseconds.
func FuzzFilter(f *testing.F) {
	for _, text := range []string{
		example, `cap.gpu == 2 || !has(cap.tpu)`, `cap.big.all(x, cap.list.exists(y, x == y))`, `id.matches("^(a|b)*$")`,
		`semver(version) > semver("1")`, `load.in_flight * 2 < capacity && position.lat > 3`, `cap["a"][0] in [1, "x", [true]]`,
		`node + id + node == "x" ? weight % 3 == 1 : double(meta.cost) < 2.5`, `ports.exists_one(p, ports[p] > 80)`, `cap == meta`,
		`((((true))))`, `lower(version) == "x" || cap.exists(k, lower(k) == "x" && cap[k] != false)`, "a\nb", `"\u00e9" == 'x'`, `r"\d" in cap.codecs`, `{"a": 1}`, `load{}`, `[].all(x, x)`, `1u + 2u == 3u`, `b"a" == b"b"`,
	} {
		f.Add(text)
	}
	subjects := []*Subject{typical(), bareSubject(), crowded()}
	f.Fuzz(func(t *testing.T, text string) {
		begin := time.Now()
		filter, err := Compile(text)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("compiling took %v", took)
		}
		if err != nil {
			var e *rollcall.Error
			if !errors.As(err, &e) || e.Field != "filter" || len(e.Detail) > 2000 {
				t.Errorf("%v", err)
			}
			return
		}
		for _, s := range subjects {
			begin = time.Now()
			matches := filter.Match(s)
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("matching took %v", took)
			}
			if why := filter.Why(s); (why == "") != matches || len(why) > 8000 {
				t.Errorf("matches: %v, why: %s", matches, why)
			}
			for _, term := range filter.Terms() {
				if matches && !meets(s, term) {
					t.Errorf("it matches without %+v", term)
				}
			}
		}
	})
}
