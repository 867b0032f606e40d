package form

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

const whole = `{
  "namespace": "default", "service": "payments", "id": "payments-7f9c",
  "address": "10.0.3.17", "ports": {"http": 8080, "grpc": 9090},
  "version": "2.4.1", "node": "host-17",
  "locality": {"region": "eu-west", "zone": "eu-west-1a", "sub_zone": "rack-12"},
  "position": {"lat": 52.52, "lon": 13.40},
  "capabilities": {"gpu": 2, "codecs": ["h264", "av1"], "canary": true, "engine": "v\u0038", "\u0062ig": 1e21},
  "metadata": {"team": "checkout \"\\ \ud83d\ude00"},
  "weight": 100, "capacity": 200, "warmup": "30s",
  "lease": {"mode": "ttl", "ttl": "15s", "remove_after": "1m"},
  "checks": [{"name": "ready", "type": "http", "target": "/healthz", "interval": "5s", "timeout": "1s", "rise": 2, "fall": 3, "deregister_after": "1h"},
    {"name": "queue", "type": "ttl", "ttl": "1m"}]
}`

func begin(body string) *Decoder {
	d := new(Decoder)
	d.Begin([]byte(body))
	return d
}

// A form says of an instance what encoding/json does.
func TestInstance(t *testing.T) {
	var got, want rollcall.Instance
	if err := begin(whole).Instance(&got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(whole), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReport(t *testing.T) {
	const body = `{"status":"degraded","note":"slow","checks":{"queue":{"status":"healthy","note":"0"}},
		"load":{"utilization":0.5,"in_flight":3,"rps":1,"errors":2,"latency_p50_ms":3,"latency_p99_ms":4},"position":{"lat":1,"lon":-2}}`
	var got, want rollcall.Report
	if err := begin(body).Report(&got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(body), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

const namedQuery = `{"namespace":"shop","name":"payments","service":"pay","filter":"cap.region_ok == true","near":"zone:eu-west/eu-west-1a",
	"split":[{"percent":90,"filter":"version == \"1.4.0\""},{"percent":10,"service":"b","namespace":"c","near":"d"}],
	"failover":[{"service":"payments-dr"},{"namespace":"eu","service":"payments","filter":"e","near":"f"}],"min_routable":2,"limit":10,"subset_size":20}`

func TestNamedQuery(t *testing.T) {
	var got, want rollcall.NamedQuery
	if err := begin(namedQuery).NamedQuery(&got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(namedQuery), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for body, field := range map[string]string{
		`{"nam":"a"}`:                            "nam",
		`{"split":[{"percent":1},{"weight":1}]}`: "split[1].weight",
		`{"failover":[{"name":"a"}]}`:            "failover[0].name",
		`{"failover":[{"filter":1}]}`:            "failover[0].filter",
		`{"limit":-1}`:                           "limit",
		`{"split":{}}`:                           "split",
		`{"failover":["a"]}`:                     "failover[0]",
	} {
		var e *rollcall.Error
		if err := begin(body).NamedQuery(&got); !errors.As(err, &e) || e.Field != field {
			t.Errorf("%s: %v, want one that names %s", body, err, field)
		}
	}
}

func TestRenewals(t *testing.T) {
	got, err := begin(`{"renew":[{"service":"Payments","id":"a"},{"service":"Payments","id":"b","namespace":"Shop"},
		{"id":"c","namespace":"Shop","service":"Payments","load":{"rps":1}},{"service":"p\u0061","id":"d"},{"service":"pa","id":"\u0065"}]}`).Renewals("x", 5)
	if err != nil {
		t.Fatal(err)
	}
	want := []rollcall.Renew{
		{Key: rollcall.NewKey("x", "payments", "a")},
		{Key: rollcall.NewKey("shop", "payments", "b")},
		{Key: rollcall.NewKey("shop", "payments", "c"), Load: &rollcall.Load{RPS: 1}},
		{Key: rollcall.NewKey("x", "pa", "d")},
		{Key: rollcall.NewKey("x", "pa", "e")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTooManyRenewals(t *testing.T) {
	const three = `{"renew":[{"service":"s","id":"a"},{"service":"s","id":"b"},{"service":"s","id":"c"}]}`
	if rs, err := begin(three).Renewals("", 3); err != nil || len(rs) != 3 {
		t.Errorf("%v, %v", rs, err)
	}
	_, err := begin(three).Renewals("", 2)
	if !errors.Is(err, rollcall.ErrTooLarge) || !strings.Contains(err.Error(), "more than 2 renewals") {
		t.Error(err)
	}
}

// Every error is a rollcall.Error that names the field.
func TestErrors(t *testing.T) {
	deep := func(n int) string { return strings.Repeat(`[`, n) + strings.Repeat(`]`, n) }
	for _, c := range []struct{ body, field, says string }{
		{``, "", "is empty"},
		{` `, "", "is empty"},
		{`{`, "", "middle"},
		{`{"service":"a"`, "", "middle"},
		{`{"service":"a`, "service", "middle"},
		{`{}{}`, "", "behind its end"},
		{`{}]`, "", "byte 2"},
		{`null null`, "", "behind its end"},
		{"{\"service\":\"\xff\"}", "service", "UTF-8"},
		{`{"service":"\ud800"}`, "service", "surrogate"},
		{"{\"service\":\"a\nb\"}", "service", "non-control"},
		{`{"service":"a","service":"a"}`, "service", "twice"},
		{`{"service":"a","\u0073ervice":"a"}`, "service", "twice"},
		{`{"Service":"a"}`, "Service", "not known"},
		{`{"locality":{"county":"x"}}`, "locality.county", "not known"},
		{`{"checks":[{},{"foo":1}]}`, "checks[1].foo", "not known"},
		{`{"checks":[{"ttl":5}]}`, "checks[0].ttl", "duration"},
		{`{"checks":[[]]}`, "checks[0]", "object"},
		{`{"checks":{}}`, "checks", "array"},
		{`{"checks":[{"rise":-1}]}`, "checks[0].rise", "whole number"},
		{`{"metadata":{"a.b":1}}`, "metadata.a.b", "string"},
		{`{"metadata":{"0":1}}`, "metadata.0", "string"},
		{`{"weight":1.0}`, "weight", "whole number"},
		{`{"weight":true}`, "weight", "boolean"},
		{`{"weight":01}`, "", "byte 11"},
		{`{"position":{"lat":-1e999,"lon":0}}`, "position.lat", "out of range"},
		{`{"position":{"lat":Infinity,"lon":0}}`, "position.lat", "byte"},
		{`{"position":[1,2]}`, "position", "object"},
		{`{"health":` + deep(31) + `}`, "", ""},
		{`{"health":` + deep(33) + `}`, "health", "nests deeper"},
		{`{"health":` + deep(20_000) + `}`, "health", "nests deeper"},
		{`{"metadata":` + deep(20_000) + `}`, "metadata", "object"},
		{deep(20_000), "", "object"},
		{`{"capabilities":{"a":` + deep(3) + `}}`, "capabilities.a[0]", "array"},
	} {
		var i rollcall.Instance
		err := begin(c.body).Instance(&i)
		if c.says == "" {
			if err != nil {
				t.Errorf("%.60q: %v", c.body, err)
			}
			continue
		}
		var e *rollcall.Error
		if !errors.As(err, &e) || e.Kind != rollcall.ErrInvalid {
			t.Errorf("%.60q: %v", c.body, err)
			continue
		}
		if field, _, _ := strings.Cut(e.Field, "[0][0]"); field != c.field || !strings.Contains(e.Detail, c.says) {
			t.Errorf("%.60q: field %q, %q; want %q, %q", c.body, e.Field, e.Detail, c.field, c.says)
		}
	}
}

func TestManyErrors(t *testing.T) {
	const good = `{"service":"a","id":"1"}`
	for _, c := range []struct {
		body  string
		items string // field of each item's error; "-" is none
		err   string
	}{
		{`[]`, "", ""},
		{`null`, "", "null"},
		{good, "-", ""},
		{good + good, "- -", ""},
		{"\n" + good + "\r\n\t" + good + "\n\n", "- -", ""},
		{`[` + good + `,` + good + `]`, "- -", ""},
		{`[` + good + `,{"x":{"y":[{}]},"z":1},` + good + `]`, "- x -", ""},
		{`[{"checks":[{"a":[1,2,{"b":3}]}]},` + good + `]`, "checks[0].a -", ""},
		{`[{"port":1,"ports":{}},` + good + `]`, "port -", ""},
		{`[[[]],` + good + `]`, " -", ""},
		{good + `7` + good, "-  -", ""},
		{good + `[]`, "- ", ""},
		{`[` + good + good + `]`, "", "byte"},
		{`[` + good + `,]`, "", "byte"},
		{`[` + good, "", "middle"},
		{`[` + good + `]` + good, "", "behind its end"},
		{`[` + good + `,` + good + `,` + good + `,` + good + `]`, "", "more than 3"},
		{`[{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `},` + good + `]`, "", "nests deeper"},
	} {
		_, wrong, err := instances(c.body, 3)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%.80s: %v, want %q", c.body, err, c.err)
			}
			continue
		}
		var got []string
		for _, err := range wrong {
			var e *rollcall.Error
			field := "-"
			if errors.As(err, &e) {
				field = e.Field
			}
			got = append(got, field)
		}
		if err != nil || strings.Join(got, " ") != c.items {
			t.Errorf("%.80s: %q, %v; want %q", c.body, got, err, c.items)
		}
	}
}

// The examples of RFC 7396, appendix A.
func TestMerge(t *testing.T) {
	for _, c := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		target, err := begin(c.target).tree()
		if err != nil {
			t.Fatal(err)
		}
		patch, err := begin(c.patch).tree()
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(merge(target, patch))
		if err != nil || string(got) != c.want {
			t.Errorf("%s patched with %s is %s, %v; want %s", c.target, c.patch, got, err, c.want)
		}
	}
}

func TestPatchTwice(t *testing.T) {
	// An update may be tried again on a newer instance: a patch keeps nothing
	// of the first.
	p, err := begin(`{"metadata":{"b":"2"},"capabilities":{"new":{"x":null}}}`).Patch(rollcall.NewKey("", "s", "i"))
	if err != nil {
		t.Fatal(err)
	}
	i := rollcall.Instance{Service: "s", ID: "i", Metadata: map[string]string{"a": "1"}}
	if err := p.Apply(&i); err == nil {
		t.Error("an object as a capability is fine")
	}
	if i.Metadata["b"] != "" {
		t.Error("a failed patch was applied")
	}
	if p, err = begin(`{"metadata":{"b":"2"}}`).Patch(i.Key()); err != nil {
		t.Fatal(err)
	}
	for _, first := range []string{"a", "c"} {
		i := rollcall.Instance{Service: "s", ID: "i", Metadata: map[string]string{first: "1"}}
		if err := p.Apply(&i); err != nil || !cmp.Equal(i.Metadata, map[string]string{first: "1", "b": "2"}) {
			t.Errorf("%v, %v", i.Metadata, err)
		}
	}
}

func TestFill(t *testing.T) {
	body := strings.Repeat(" ", 300_000) + whole
	for _, length := range []int64{-1, 0, int64(len(body)), 1 << 40} {
		var d Decoder
		var i rollcall.Instance
		if err := d.Fill(iotest.HalfReader(strings.NewReader(body)), length); err != nil {
			t.Fatal(err)
		}
		if err := d.Instance(&i); err != nil || i.ID != "payments-7f9c" {
			t.Errorf("length %d: %v", length, err)
		}
		d.Release()
	}
	var d Decoder
	if err := d.Fill(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(whole))), -1); err != iotest.ErrTimeout {
		t.Errorf("error of the reader: %v", err)
	}
	// What is only promised is not allocated.
	d = Decoder{}
	if err := d.Fill(strings.NewReader("{}"), 1<<40); err != nil || cap(d.buf) > 64<<10 {
		t.Errorf("%d bytes for a promise, %v", cap(d.buf), err)
	}
}

func TestMoment(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"1h":                        now.Add(-time.Hour),
		"2026-01-02T16:04:05+01:00": now,
	} {
		if got, err := Moment(s, now, -1); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "now", "-1h", "2026-01-02", strings.Repeat("9", 1000)} {
		if got, err := Moment(s, now, -1); err == nil || len(err.Error()) > 300 {
			t.Errorf("%.20q: %v, %v", s, got, err)
		}
	}
}

func BenchmarkInstance(b *testing.B) {
	b.SetBytes(int64(len(whole)))
	b.ReportAllocs()
	var d Decoder
	body := []byte(whole)
	for b.Loop() {
		var i rollcall.Instance
		d.Begin(body)
		if err := d.Instance(&i); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInstanceByReflection is what the decoders are written by hand for.
func BenchmarkInstanceByReflection(b *testing.B) {
	b.SetBytes(int64(len(whole)))
	b.ReportAllocs()
	body := []byte(whole)
	for b.Loop() {
		var i rollcall.Instance
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(&i); err != nil {
			b.Fatal(err)
		}
	}
}

// instances reads many registrations: each as JSON, and what is wrong with it.
func instances(body string, most int) (items []string, wrong []error, err error) {
	err = begin(body).Instances(most, func(i *rollcall.Instance, err error) {
		items, wrong = append(items, string(i.AppendJSON(nil))), append(wrong, err)
	})
	return items, wrong, err
}

func BenchmarkInstances(b *testing.B) {
	body := []byte("[" + strings.Repeat(whole+",", 99) + whole + "]")
	b.SetBytes(int64(len(body)))
	var d Decoder
	for b.Loop() {
		d.Begin(body)
		n := 0
		if err := d.Instances(100, func(*rollcall.Instance, error) { n++ }); err != nil || n != 100 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*float64(b.N)/b.Elapsed().Seconds(), "instances/s")
}

func BenchmarkRenewals(b *testing.B) {
	var body bytes.Buffer
	io.WriteString(&body, `{"renew":[`)
	for n := range 1000 {
		if n > 0 {
			io.WriteString(&body, ",")
		}
		io.WriteString(&body, `{"service":"payments","id":"payments-7f9c0d1e`+string(rune('a'+n%26))+`"}`)
	}
	io.WriteString(&body, `]}`)
	b.ReportAllocs()
	var d Decoder
	for b.Loop() {
		d.Begin(body.Bytes())
		if rs, err := d.Renewals("", 1000); err != nil || len(rs) != 1000 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(1000*float64(b.N)/b.Elapsed().Seconds(), "renewals/s")
}
