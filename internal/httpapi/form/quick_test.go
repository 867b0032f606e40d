package form

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

var (
	quickLines = []string{
		`{"type":"report","service":"a","id":"b","load":{"rps":1}}`,
		`{"type":"report","ref":"7","namespace":"shop","service":"A","id":"b","position":{"lat":52.52,"lon":-13.4e0}}`,
		` { "type" : "report" , "service":"a","id":"b" , "load":{ "utilization":0.5,"in_flight":12,"rps":1E2,"errors":0,"latency_p50_ms":1.5,"latency_p99_ms":20},"position":{"lon":0,"lat":-0}} `,
		`{"type":"report","service":"a","id":"b"}`,
	}
	slowLines = []string{
		``, `{}`, `{"type":"report"}`, `{"type":"pong"}`, `{"type":"report","service":"a"}`,
		`{"service":"a","id":"b","type":"report"}`,
		`{"type":"report","service":"a","id":"b","status":"healthy"}`,
		`{"type":"report","service":"a","id":"b","id":"c"}`,
		`{"type":"report","service":"\u0061","id":"b"}`,
		`{"type":"report","service":"é","id":"b"}`,
		`{"type":"report","service":"a","id":"b","load":null}`,
		`{"type":"report","service":"a","id":"b","load":{}}`,
		`{"type":"report","service":"a","id":"b","load":{"rps":1,"rps":2}}`,
		`{"type":"report","service":"a","id":"b","load":{"rps":01}}`,
		`{"type":"report","service":"a","id":"b","load":{"rps":1.}}`,
		`{"type":"report","service":"a","id":"b","load":{"rps":.1}}`,
		`{"type":"report","service":"a","id":"b","load":{"rps":1e}}`,
		`{"type":"report","service":"a","id":"b","load":{"rps":+1}}`,
		`{"type":"report","service":"a","id":"b","load":{"rps":1e999}}`,
		`{"type":"report","service":"a","id":"b","load":{"rps":0x1}}`,
		`{"type":"report","service":"a","id":"b","load":{"in_flight":1.0}}`,
		`{"type":"report","service":"a","id":"b","load":{"in_flight":-1}}`,
		`{"type":"report","service":"a","id":"b","position":{"lat":1}}`,
		`{"type":"report","service":"a","id":"b"}}`, `{"type":"report","service":"a","id":"b"`,
		`{"type":"report","service":"a","id":"b",}`, `{"type":"goodbye","service":"a","id":"b"}`,
	}
)

func TestQuickLines(t *testing.T) {
	var q Quick
	for _, line := range quickLines {
		if !q.Line([]byte(line)) {
			t.Errorf("%s is not read", line)
		}
		sameLine(t, []byte(line), &q)
	}
	for _, line := range slowLines {
		if q.Line([]byte(line)) {
			t.Errorf("%s is read", line)
		}
	}
	line := []byte(quickLines[2])
	if n := testing.AllocsPerRun(100, func() { q.Line(line) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// sameLine checks that the decoder reads a line as it was read.
func sameLine(t *testing.T, line []byte, q *Quick) {
	t.Helper()
	var want Line
	if err := begin(string(line)).Line(&want); err != nil {
		t.Fatalf("%s is read, but %v", line, err)
	}
	key := rollcall.NewKey(string(q.Namespace), string(q.Service), string(q.ID))
	if want.Type != LineReport || want.Ref != string(q.Ref) || want.Key != key || !cmp.Equal(want.Report, q.Report) {
		t.Errorf("%s is read as %v, %+v; want %+v", line, key, q.Report, want)
	}
}

func FuzzQuickLine(f *testing.F) {
	for _, line := range append(quickLines, slowLines...) {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var q Quick
		if q.Line(line) {
			sameLine(t, line, &q)
		}
	})
}

var positionPatches = map[string]bool{
	`{"position":{"lat":52.52,"lon":13.4}}`:                   true,
	"\n{ \"position\" : { \"lon\" : 1 , \"lat\" : -1e1 } }\n": true,
	`{"position":{"lat":1000,"lon":13.4}}`:                    true,
	`{"position":{"lat":1}}`:                                  false, // the other stays as it is
	`{"position":null}`:                                       false,
	`{"position":{"lat":null,"lon":1}}`:                       false,
	`{"position":{"lat":1,"lon":1},"weight":1}`:               false,
	`{"weight":1,"position":{"lat":1,"lon":1}}`:               false,
	`{"position":{"lat":1,"lon":1},"position":{}}`:            false,
	`{"position":{"lat":1,"lon":1}}x`:                         false,
	`{}`:                                                      false,
	``:                                                        false,
}

func TestPositionPatch(t *testing.T) {
	for body, want := range positionPatches {
		if _, ok := begin(body).Position(); ok != want {
			t.Errorf("%s: %v", body, ok)
		}
	}
}

func FuzzPositionPatch(f *testing.F) {
	for body := range positionPatches {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d := begin(string(bytes.Clone(body)))
		p, ok := d.Position()
		if !ok {
			return
		}
		patch, err := d.Patch(rollcall.NewKey("", "a", "b"))
		if err != nil {
			t.Fatalf("%s is read, but %v", body, err)
		}
		i := rollcall.Instance{Namespace: "default", Service: "a", ID: "b"}
		if err := patch.Apply(&i); err != nil || i.Position == nil || *i.Position != p {
			t.Errorf("%s is read as %v; want %v, %v", body, p, i.Position, err)
		}
	})
}

func BenchmarkLine(b *testing.B) {
	line := []byte(`{"type":"report","service":"payments","id":"payments-7f9c","load":{"utilization":0.43,"in_flight":12,"rps":101.5,"latency_p50_ms":1.5}}`)
	b.Run("decoder", func(b *testing.B) {
		b.ReportAllocs()
		var d Decoder
		var l Line
		for b.Loop() {
			d.Begin(line)
			if err := d.Line(&l); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("quick", func(b *testing.B) {
		b.ReportAllocs()
		var q Quick
		for b.Loop() {
			if !q.Line(line) {
				b.Fatal("not read")
			}
		}
	})
}
