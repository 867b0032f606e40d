package form

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rollcall-registry/rollcall"
)

// fuzzed checks what holds for every body: no panic, and an error that can be
// shown.
func fuzzed(t *testing.T, body []byte, err error) {
	if err == nil {
		return
	}
	var e *rollcall.Error
	if !errors.As(err, &e) || e.Detail == "" || e.Kind != rollcall.ErrInvalid && e.Kind != rollcall.ErrTooLarge {
		t.Errorf("%q: %#v", body, err)
	}
}

func FuzzDecodeInstance(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"port":80,"health":{"a":[1,{}]},"weight":null,"capabilities":{"a":[1,"b",true]}}`))
	f.Add([]byte(`{"checks":[{"name":"a","ttl":"1h"}],"position":{"lat":1e300,"lon":-0.0}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var got rollcall.Instance
		err := begin(string(body)).Instance(&got)
		fuzzed(t, body, err)
		if err != nil {
			return
		}
		// What was understood can be written and read again.
		text := got.AppendJSON(nil)
		var again rollcall.Instance
		if err := begin(string(text)).Instance(&again); err != nil {
			t.Fatalf("%q was read as %s, and that is %v", body, text, err)
		}
		if b := again.AppendJSON(nil); !bytes.Equal(text, b) {
			t.Errorf("%s was read as %s", text, b)
		}
	})
}

func FuzzDecodeInstances(f *testing.F) {
	f.Add([]byte("[" + whole + "," + whole + "]"))
	f.Add([]byte(`[{"service":"a"},{"x":{"y":[]}},7,null,[[]],"s"]`))
	f.Add([]byte("{\"service\":\"a\"}\n{\"metadata\":{\"a\":\"\\ud83d\\ude00\"}}\r\n\t{}7{}"))
	f.Add([]byte(`[{},{},{},{},{},{}]`))
	f.Add([]byte(`[{"port":1,"ports":{}},{"health":[[[[]]]]}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		const most = 5
		items, wrong, err := instances(string(body), most)
		fuzzed(t, body, err)
		if len(items) > most {
			t.Errorf("%q: %d items", body, len(items))
		}
		for _, err := range wrong {
			fuzzed(t, body, err)
		}
		// One alone is read as it is among many.
		var one rollcall.Instance
		if alone := begin(string(body)).Instance(&one); alone == nil && bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
			if err != nil || len(items) != 1 || wrong[0] != nil || items[0] != string(one.AppendJSON(nil)) {
				t.Errorf("%q is %v among many, %v", body, items, err)
			}
		}
	})
}

func FuzzDecodePatch(f *testing.F) {
	f.Add([]byte(`{"weight":50,"metadata":{"a":null,"team":"checkout"},"lease":{"ttl":"20s"}}`))
	f.Add([]byte(`{"namespace":"Default","service":"A","id":"b","port":80}`))
	f.Add([]byte(`{"id":null,"port":80,"ports":null,"capabilities":{"x":{"y":{"z":null}}}}`))
	f.Add([]byte(`{"checks":[{"name":"q","type":"ttl","ttl":"1m"}],"position":{"lat":1}}`))
	f.Add([]byte(`{"metadata":{"\u0061":"\ud83d\ude00","a.b":[1,[2,{}]]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := begin(string(body)).Patch(rollcall.NewKey("", "a", "b"))
		fuzzed(t, body, err)
		if err != nil {
			return
		}
		i := rollcall.Instance{Namespace: "default", Service: "a", ID: "b", Metadata: map[string]string{"a": "b"}}
		was := i.AppendJSON(nil)
		if err := p.Apply(&i); err != nil {
			fuzzed(t, body, err)
			if is := i.AppendJSON(nil); !bytes.Equal(was, is) {
				t.Errorf("%q failed and left %s", body, is)
			}
			return
		}
		if i.Namespace != "default" || i.Service != "a" || i.ID != "b" {
			t.Errorf("%q made it %v", body, i.Key())
		}
		// A merge patch a second time changes nothing.
		once := i.AppendJSON(nil)
		if err := p.Apply(&i); err != nil || !bytes.Equal(once, i.AppendJSON(nil)) {
			t.Errorf("%q makes %s once, %s twice, %v", body, once, i.AppendJSON(nil), err)
		}
	})
}

func FuzzDecodeReport(f *testing.F) {
	f.Add([]byte(`{"status":"degraded","note":"x","checks":{"a":{"status":"healthy"}},"load":{"rps":1e9},"position":{"lat":1,"lon":2}}`))
	f.Add([]byte(`{"load":{"rps":1,"in_flight":2},"position":{"lat":1,"lon":2}}`))
	f.Add([]byte(`{"checks":{"":null},"load":null,"position":null,"status":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, want rollcall.Report
		err := begin(string(body)).Report(&got)
		fuzzed(t, body, err)
		d := begin(string(body))
		if slow := d.whole(func() error { return d.report(&want) }); (slow == nil) != (err == nil) || err == nil && !cmp.Equal(got, want) {
			t.Errorf("%q is read as %+v, %v; want %+v, %v", body, got, err, want, slow)
		}
	})
}

func FuzzDecodeRenewals(f *testing.F) {
	f.Add([]byte(`{"renew":[{"service":"a","id":"b","load":null},{"service":"\u0061","id":"c","position":{"lat":0,"lon":0}}]}`), "")
	f.Add([]byte(`{"renew":[{"service":"A","id":"b","namespace":"N"},{"service":"A","id":"c","namespace":"N","load":{"rps":1}}]}`), "shop")
	f.Add([]byte(`{"renew":[{"service":"a\\","id":"b"},{"service":"a\\","id":"b"},{"service":"a","id":""}]}`), "x")
	f.Add([]byte(`{"renew":null}`), "")
	f.Add([]byte(`{"renew":[{"service":"a","id":"b","namespace":""},{"service":"a","id":"b","namespace":null}]}`), "shop")
	f.Add([]byte(`{"renew":[`+strings.Repeat(`{"service":"a","id":"b"},`, 5)+`{}]}`), "")
	f.Fuzz(func(t *testing.T, body []byte, namespace string) {
		const most = 5
		rs, err := begin(string(body)).Renewals(namespace, most)
		fuzzed(t, body, err)
		if len(rs) > most {
			t.Errorf("%q: %d renewals", body, len(rs))
		}
		if err != nil {
			return
		}
		for _, r := range rs {
			if r.Key.Service == "" || r.Key.ID == "" || r.Key.ServiceKey != rollcall.NewServiceKey(r.Key.Namespace, r.Key.Service) {
				t.Errorf("%q: %v", body, r.Key)
			}
		}
		// Sharing memory with the renewal before changes nothing.
		var plain struct {
			Renew []struct {
				Namespace   *string
				Service, ID string
			}
		}
		if json.Unmarshal(body, &plain) != nil || len(plain.Renew) != len(rs) {
			t.Fatalf("%q is read as %v", body, rs)
		}
		for n, p := range plain.Renew {
			if p.Namespace == nil {
				p.Namespace = &namespace
			}
			if want := rollcall.NewKey(*p.Namespace, p.Service, p.ID); rs[n].Key != want {
				t.Errorf("%q: %v, want %v", body, rs[n].Key, want)
			}
		}
	})
}

func FuzzDecodeOverride(f *testing.F) {
	f.Add([]byte(`{"status":"unhealthy","reason":"x","expires":"15m","by":[{}]}`))
	f.Add([]byte(`{"status":"healthy","expires":"2026-01-02T16:04:05+01:00","since":"x"}`))
	f.Add([]byte(`{"status":null,"expires":"-1s"}`))
	f.Add([]byte(`{"expires":"2562047h47m16.854775807s"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var o rollcall.Override
		now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
		err := begin(string(body)).Override(&o, now)
		fuzzed(t, body, err)
		if err == nil && o.Expires != nil && o.Expires.Location() != time.UTC {
			t.Errorf("%q expires at %v", body, o.Expires)
		}
	})
}

func FuzzDecodeSettings(f *testing.F) {
	f.Add([]byte(`{"dns_ttl":"1s","guard_share":null,"panic":0.5,"position_rate":1e9}`))
	f.Add([]byte(`{"dns_ttl":null,"panic":-0.0}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, again rollcall.Settings
		err := begin(string(body)).Settings(&got)
		fuzzed(t, body, err)
		if err != nil {
			return
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if err := begin(string(text)).Settings(&again); err != nil || !cmp.Equal(got, again) {
			t.Errorf("%q was read as %s, and that as %+v, %v", body, text, again, err)
		}
	})
}

func FuzzDecodeAck(f *testing.F) {
	f.Add([]byte(`{"subscription":"6P3QXZB7KD2MAVHT","revision":18446744073709551615}`))
	f.Add([]byte(`{"subscription":"\u0061","revision":1e0}`))
	f.Add([]byte(`{"subscription":null,"revision":-1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var a Ack
		err := begin(string(body)).Ack(&a)
		fuzzed(t, body, err)
		if err == nil && (a.Subscription == "" || a.Revision == 0) {
			t.Errorf("%q is read as %+v", body, a)
		}
	})
}

func FuzzDecodeLine(f *testing.F) {
	f.Add([]byte(`{"type":"resume","token":"t"}`))
	f.Add([]byte(`{"type":"register","ref":"1","instance":` + whole + `}`))
	f.Add([]byte(`{"type":"report","service":"A","id":"b","namespace":"N","status":"degraded","checks":{"a":{"status":"healthy"}}}`))
	f.Add([]byte(`{"type":"goodbye","service":"a","id":null}`))
	f.Add([]byte(`{"type":"pong"} {"type":"pong"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var l Line
		d := begin(string(body))
		err := d.Line(&l)
		fuzzed(t, body, err)
		if d.Broken() && err == nil || !json.Valid(body) && err == nil {
			t.Errorf("%q is read as %+v", body, l)
		}
		if err == nil && (l.Type == "" || l.Type == LineReport && (l.Key.Service == "" || l.Key.ID == "")) {
			t.Errorf("%q is read as %+v", body, l)
		}
	})
}

func FuzzDecodeCallerReport(f *testing.F) {
	f.Add([]byte(`{"caller":"web-1","window":"5s","instances":[{"id":"a","ok":9,"errors":1,"latency_p50_ms":2.5,"latency_p99_ms":1e2,"in_flight":3},{"id":"b"}]}`))
	f.Add([]byte(`{"window":null,"instances":[null,{"ok":-1}],"instances":[]}`))
	f.Add([]byte(`{"instances":[` + strings.Repeat(`{},`, 5) + `{}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		const most = 5
		var got, again rollcall.CallerReport
		err := begin(string(body)).CallerReport(most, &got)
		fuzzed(t, body, err)
		if len(got.Instances) > most {
			t.Errorf("%q: %d instances", body, len(got.Instances))
		}
		if err != nil {
			return
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if err := begin(string(text)).CallerReport(most, &again); err != nil || !cmp.Equal(got, again, cmpopts.EquateEmpty()) {
			t.Errorf("%q was read as %s, and that as %+v, %v", body, text, again, err)
		}
	})
}

func FuzzDecodeEndGuard(f *testing.F) {
	f.Add([]byte(`{"service":"A","namespace":"N","end":true}`))
	f.Add([]byte(`{"end":true}`))
	f.Add([]byte(`{"end":"true"}`))
	f.Add([]byte(`{"namespace":"n","end":true,"service":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var key rollcall.ServiceKey
		err := begin(string(body)).EndGuard(&key)
		fuzzed(t, body, err)
		if err == nil && key != (rollcall.ServiceKey{}) && (key.Service == "" || key != rollcall.NewServiceKey(key.Namespace, key.Service)) {
			t.Errorf("%q is read as %+v", body, key)
		}
	})
}

func FuzzDecodeNamedQuery(f *testing.F) {
	f.Add([]byte(namedQuery))
	f.Add([]byte(`{"split":null,"failover":[null,{}],"split":[{"percent":null}],"min_routable":null}`))
	f.Add([]byte(`{"name":"\u0061","split":[{"percent":1e400}],"by":[{}],"updated_at":{"x":[[]]},"revision":-1}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var got, again rollcall.NamedQuery
		err := begin(string(body)).NamedQuery(&got)
		fuzzed(t, body, err)
		if err != nil {
			return
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if err := begin(string(text)).NamedQuery(&again); err != nil || !cmp.Equal(got, again, cmpopts.EquateEmpty()) {
			t.Errorf("%q was read as %s, and that as %+v, %v", body, text, again, err)
		}
	})
}
