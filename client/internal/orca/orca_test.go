package orca

import (
	"encoding/base64"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
)

var full = Report{CPU: 0.25, Application: 1.5, RPS: 120.5, Errors: 0.5, InFlight: 7, Latency: 3.25, Probed: true}

func same(t *testing.T, got, want Report) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Report{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, want := range []Report{full, {}, {RPS: 1}, {Probed: true}, Of(rollcall.Load{InFlight: 3, Utilization: 0.5, RPS: 1e6, LatencyP50: 0.125})} {
		got, err := Parse(string(want.Text(nil)))
		if err != nil {
			t.Fatal(err)
		}
		same(t, got, want)
		if got, err = ParseBinary(want.Binary(nil)); err != nil {
			t.Fatal(err)
		}
		same(t, got, want)
		if got, err = Parse("BIN " + base64.StdEncoding.EncodeToString(want.Binary(nil))); err != nil {
			t.Fatal(err)
		}
		same(t, got, want)
	}
}

func TestWhatOthersWrite(t *testing.T) {
	for in, want := range map[string]Report{
		"TEXT cpu_utilization=0.3, mem_utilization=0.8":             {CPU: 0.3},
		"cpu_utilization:0.3,named_metrics.queue:-4":                {CPU: 0.3},
		"TEXT rps_fractional=10,rps=9":                              {RPS: 10},
		"TEXT rps=9,,eps=1,":                                        {RPS: 9, Errors: 1},
		"TEXT named_metrics.in_flight=2":                            {InFlight: 2},
		"TEXT request_cost.db=3,utilization.disk=0.5":               {},
		`JSON {"cpu_utilization": 0.3, "rps": "9"}`:                 {CPU: 0.3, RPS: 9},
		`JSON {"cpuUtilization":0.3,"rpsFractional":10,"rps":9}`:    {CPU: 0.3, RPS: 10},
		`JSON {"namedMetrics":{"in_flight":2,"x":"NaN"},"odd":[1]}`: {InFlight: 2},
		`JSON {"named_metrics":{"in_flight":2,"latency_ms":"1.5"}}`: {InFlight: 2, Latency: 1.5, Probed: true},
	} {
		got, err := Parse(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
		}
		same(t, got, want)
	}
	whole := protowire.AppendVarint(protowire.AppendTag(nil, fieldWholeRPS, protowire.VarintType), 9)
	got, err := ParseBinary(whole)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, Report{RPS: 9})
}

func TestRefused(t *testing.T) {
	for _, in := range []string{
		"TEXT cpu_utilization", "TEXT cpu_utilization=", "TEXT cpu_utilization=x", "TEXT eps=-1", "TEXT eps=NaN",
		"TEXT application_utilization=Inf", "TEXT rps_fractional=1e999", "TEXT named_metrics.latency_ms=-1",
		"JSON", "JSON [1]", `JSON {"eps":"-Infinity"}`, `JSON {"eps":null}`, `JSON {"named_metrics":{"in_flight":-2}}`, `JSON {"named_metrics":3}`,
		"BIN ?", "BIN AAAA", "TEXT " + strings.Repeat("a=1,", mostBytes/4),
	} {
		if got, err := Parse(in); err == nil {
			t.Errorf("%.60s: read as %+v", in, got)
		}
	}
	for _, v := range []float64{-1, math.NaN(), math.Inf(1)} {
		for _, r := range []Report{{CPU: v}, {Application: v}, {RPS: v}, {Errors: v}, {InFlight: v, Probed: true}, {Latency: v, Probed: true}} {
			if got, err := ParseBinary(r.Binary(nil)); err == nil {
				t.Errorf("%+v: read as %+v", r, got)
			}
		}
	}
	if _, err := ParseBinary(make([]byte, mostBytes+1)); err == nil {
		t.Error("a long message was read")
	}
}

func TestAnswer(t *testing.T) {
	if n, took, ok := full.Answer(); n != 7 || took != 3250*time.Microsecond || !ok {
		t.Errorf("%d, %v, %v", n, took, ok)
	}
	if _, _, ok := (&Report{RPS: 1}).Answer(); ok {
		t.Error("a report without requests in flight answers a probe")
	}
	if n, took, _ := (&Report{InFlight: 1e300, Latency: 1e300, Probed: true}).Answer(); n != 1e9 || took != 1e9*time.Millisecond {
		t.Errorf("beyond all bounds: %d, %v", n, took)
	}
}

func FuzzParse(f *testing.F) {
	for _, r := range []Report{full, {}} {
		f.Add(string(r.Text(nil)))
		f.Add("BIN " + base64.StdEncoding.EncodeToString(r.Binary(nil)))
	}
	f.Add(`JSON {"cpuUtilization":0.3,"named_metrics":{"in_flight":"2"}}`)
	f.Fuzz(func(t *testing.T, s string) { sound(t, func() (Report, error) { return Parse(s) }) })
}

func FuzzParseBinary(f *testing.F) {
	f.Add(full.Binary(nil))
	f.Fuzz(func(t *testing.T, b []byte) { sound(t, func() (Report, error) { return ParseBinary(b) }) })
}

// sound checks that what is read holds numbers alone, and can be written.
func sound(t *testing.T, parse func() (Report, error)) {
	r, err := parse()
	if err != nil {
		if r != (Report{}) {
			t.Errorf("%v, and yet %+v", err, r)
		}
		return
	}
	for _, v := range []float64{r.CPU, r.Application, r.RPS, r.Errors, r.InFlight, r.Latency} {
		if number(v) != nil {
			t.Errorf("read: %+v", r)
		}
	}
	if n, took, _ := r.Answer(); n < 0 || took < 0 {
		t.Errorf("%+v answers %d, %v", r, n, took)
	}
	if _, err := ParseBinary(r.Binary(nil)); err != nil {
		t.Error(err)
	}
	if _, err := Parse(string(r.Text(nil))); err != nil {
		t.Error(err)
	}
}

func BenchmarkParse(b *testing.B) {
	text, binary := string(full.Text(nil)), full.Binary(nil)
	b.Run("text", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = Parse(text)
		}
	})
	b.Run("binary", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = ParseBinary(binary)
		}
	})
}
