package rollcall_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

var seed = flag.Uint64("seed", 0, "seed of the random tests; 0 draws one")

func newRand(t testing.TB) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// filler sets values of any type at random. With whole, nothing stays zero.
type filler struct {
	*rand.Rand
	whole bool
}

func (f *filler) skip() bool { return !f.whole && f.IntN(3) == 0 }

var pieces = []string{
	"a", "Z", "9", " ", "-", "/", `"`, `\`, "<", ">", "&", "'", "\x00", "\b", "\f", "\n", "\r", "\t", "\x1f", "\x7f",
	"é", "日", "😀", "\u2028", "\u2029", "\ufffd", "\ufeff", "\x80", "\xff", "\xed\xa0\x80", "\xf4\x90\x80\x80",
}

func (f *filler) text() string {
	var b strings.Builder
	for range 1 + f.IntN(8) {
		b.WriteString(pieces[f.IntN(len(pieces))])
	}
	return b.String()
}

func (f *filler) number() float64 {
	numbers := []float64{
		1, -1, 0.1, 1e-6, 9.9e-7, 1e-7, -1e-9, 1e-10, 1e20, 1e21, -1e21, 123456789.125,
		math.MaxFloat64, math.SmallestNonzeroFloat64, math.Pi,
	}
	if f.whole || f.IntN(2) == 0 {
		return numbers[f.IntN(len(numbers))]
	}
	for {
		if n := math.Float64frombits(f.Uint64()); !math.IsNaN(n) && !math.IsInf(n, 0) {
			return n
		}
	}
}

func (f *filler) value() rollcall.Value {
	switch f.IntN(4) {
	case 0:
		return rollcall.Bool(f.IntN(2) == 0)
	case 1:
		return rollcall.Number(f.number())
	case 2:
		return rollcall.String(f.text())
	}
	vs := make([]rollcall.Value, f.IntN(4))
	for i := range vs {
		vs[i] = []rollcall.Value{rollcall.Bool(true), rollcall.Number(f.number()), rollcall.String(f.text())}[f.IntN(3)]
	}
	return rollcall.List(vs...)
}

func (f *filler) fill(v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *rollcall.Value:
		*p = f.value()
		return
	case *rollcall.Status:
		*p = rollcall.Statuses()[f.IntN(6)]
		return
	case *time.Time:
		*p = time.Unix(f.Int64N(4e9), f.Int64N(1e9)).UTC()
		return
	}
	if v.Kind() != reflect.Struct && f.skip() {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+f.IntN(3), 3))
		for i := range v.Len() {
			f.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 1 + f.IntN(4) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			f.fill(key)
			f.fill(value)
			// Of keys that read the same as UTF-8 one would have to win.
			key.SetString(strings.ToValidUTF8(key.String(), "?"))
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(f.text())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(f.number())
	case reflect.Int, reflect.Int64:
		v.SetInt(1 + f.Int64N(1<<52))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(max(1, f.Uint64()>>(64-v.Type().Bits())))
	default:
		panic("what is a random " + v.Type().String() + "?")
	}
}

// oracle is what encoding/json makes of x, but without escapes that JSON does
// not ask for. No piece of text writes such an escape itself.
func oracle(t testing.TB, x any) []byte {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(x); err != nil {
		t.Fatal(err)
	}
	s := strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029", `\ufffd`, "\ufffd").Replace(b.String())
	return []byte(strings.TrimSuffix(s, "\n"))
}

func TestAppendJSON(t *testing.T) {
	f := &filler{Rand: newRand(t)}
	for n := range 1000 {
		f.whole = n < 100
		var i rollcall.Instance
		f.fill(reflect.ValueOf(&i).Elem())
		got, want := i.AppendJSON([]byte("before")), oracle(t, &i)
		got, ok := bytes.CutPrefix(got, []byte("before"))
		if !ok {
			t.Fatal("what stood before is gone")
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Fatalf("not what encoding/json writes:\n%s", diff)
		}
		var back, wantBack rollcall.Instance
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("%v in %s", err, got)
		}
		if err := json.Unmarshal(want, &wantBack); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wantBack, back); diff != "" {
			t.Fatalf("reads back as something else:\n%s", diff)
		}
	}
}

// TestAppendJSONOfEdges looks at what a filler does not make.
func TestAppendJSONOfEdges(t *testing.T) {
	for _, i := range []rollcall.Instance{
		{},
		{Weight: new(uint16(0)), EffectiveWeight: new(uint16(0))},
		{Position: &rollcall.Position{}},
		{Position: &rollcall.Position{Lat: math.Copysign(0, -1), Lon: -0.5}},
		{Ports: map[string]uint16{}, Metadata: map[string]string{}, Capabilities: map[string]rollcall.Value{}, Checks: []rollcall.Check{}},
		{Metadata: map[string]string{"": ""}},
		{Capabilities: map[string]rollcall.Value{"none": {}, "empty": rollcall.List(), "text": rollcall.String("")}},
		{Lease: rollcall.Lease{TTL: 1}},
		{Lease: rollcall.Lease{RemoveAfter: -1}},
		{Locality: rollcall.Locality{SubZone: "r"}},
		{Checks: []rollcall.Check{{}}},
		{Health: &rollcall.Health{}},
		{Load: &rollcall.Load{}},
		{RegisteredAt: time.Date(2026, 1, 2, 3, 4, 5, 60, time.FixedZone("", 5400))},
	} {
		if diff := cmp.Diff(string(oracle(t, &i)), string(i.AppendJSON(nil))); diff != "" {
			t.Errorf("%+v:\n%s", i, diff)
		}
	}
}

func TestHealthAppendJSON(t *testing.T) {
	f := &filler{Rand: newRand(t)}
	for range 300 {
		var h rollcall.Health
		f.fill(reflect.ValueOf(&h).Elem())
		if diff := cmp.Diff(string(oracle(t, &h)), string(h.AppendJSON(nil))); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestAppendJSONEscapes(t *testing.T) {
	for r := range rune(0x3000) {
		s := "x" + string(r) + "y"
		i := rollcall.Instance{Version: s}
		var back rollcall.Instance
		if err := json.Unmarshal(i.AppendJSON(nil), &back); err != nil || back.Version != s {
			t.Errorf("%q reads back as %q, %v", s, back.Version, err)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	i := rollcall.Instance{
		Namespace: "default", Service: "payments", ID: "payments-7f9c", Address: "10.0.3.17",
		Ports: map[string]uint16{"http": 8080, "grpc": 9090}, Version: "2.4.1", Node: "host-17",
		Locality:     rollcall.Locality{Region: "eu-west", Zone: "eu-west-1a"},
		Capabilities: map[string]rollcall.Value{"gpu": rollcall.Number(2), "codecs": rollcall.Strings("h264", "av1")},
		Metadata:     map[string]string{"team": "checkout"},
		Health:       &rollcall.Health{Status: rollcall.Healthy, Since: time.Unix(1_700_000_000, 0).UTC()},
		Revision:     812, Incarnation: 800, RegisteredAt: time.Unix(1_700_000_000, 0).UTC(),
	}
	i.Normalize()
	b.Run("AppendJSON", func(b *testing.B) {
		b.ReportAllocs()
		var buf []byte
		for b.Loop() {
			buf = i.AppendJSON(buf[:0])
		}
		b.SetBytes(int64(len(buf)))
	})
	b.Run("encoding/json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(&i); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func ExampleInstance_AppendJSON() {
	i := rollcall.Instance{Service: "payments", ID: "p-1", Ports: map[string]uint16{"http": 8080}}
	fmt.Printf("%s\n", i.AppendJSON(nil))
	// Output: {"service":"payments","id":"p-1","ports":{"http":8080}}
}
