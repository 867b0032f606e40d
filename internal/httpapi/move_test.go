package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi"
)

// A patch of a position alone has a way of its own. Whatever it says, its answer
// and what it leaves behind are those of any other patch: the same one that also
// says what the instance's version is anyway.
func TestMoveIsAnUpdate(t *testing.T) {
	const path = "/api/v1/services/Payments/instances/p-1"
	for _, c := range []struct{ name, registered, path, position string }{
		{"moved", `{"version":"1","port":80}`, path, `{"lat":52.52,"lon":13.4}`},
		{"from where it was registered", `{"version":"1","position":{"lat":1,"lon":2},"checks":[{"name":"c","type":"ttl","ttl":"1m"}]}`, path, `{"lat":52.52,"lon":13.4}`},
		{"where it was registered", `{"version":"1","position":{"lat":1,"lon":2}}`, path, `{"lat":1,"lon":2}`},
		{"a half of it", `{"version":"1","position":{"lat":1,"lon":2}}`, path, `{"lat":5}`},
		{"nowhere", `{"version":"1","position":{"lat":1,"lon":2}}`, path, `null`},
		{"beyond the pole", `{"version":"1"}`, path, `{"lat":91,"lon":0}`},
		{"beyond the date line", `{"version":"1"}`, path, `{"lat":0,"lon":-180.5}`},
		{"not known", `{"version":"1"}`, "/api/v1/services/payments/instances/p-2", `{"lat":1,"lon":2}`},
		{"in no namespace that is known", `{"version":"1"}`, path + "?namespace=x", `{"lat":1,"lon":2}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var answers [2]map[string]any
			for n, patch := range []string{`{"position":` + c.position + `}`, `{"version":"1","position":` + c.position + `}`} {
				w := newWorld(t, httpapi.Options{})
				w.do("PUT", path, c.registered).want(201)
				w.do("POST", path+"/heartbeat", `{"load":{"rps":2.5,"in_flight":3}}`).want(200)
				r := w.do("PATCH", c.path, patch)
				answers[n] = map[string]any{"code": r.StatusCode, "tag": r.Header.Get("ETag")}
				for _, body := range [][]byte{r.body, w.do("GET", path, "").body} {
					m := map[string]any{}
					if err := json.Unmarshal(body, &m); err != nil {
						t.Fatalf("%s: %v", body, err)
					}
					delete(m, "registered_at")
					if h, ok := m["health"].(map[string]any); ok {
						delete(h, "since")
						delete(h, "checks")
					}
					answers[n][string(rune('0'+len(answers[n])))] = m
				}
			}
			if diff := cmp.Diff(answers[1], answers[0]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Its answer is, to the byte, what a reader of the instance gets.
func TestMoveIsAnsweredWhole(t *testing.T) {
	const path = "/api/v1/services/payments/instances/p-1"
	w := newWorld(t, httpapi.Options{})
	w.do("PUT", path, `{"port":80,"position":{"lat":1,"lon":2},"metadata":{"a":"b"}}`).want(201)
	for _, load := range []string{`{}`, `{"load":{"rps":2.5,"in_flight":3}}`} {
		w.do("POST", path+"/heartbeat", load).want(200)
		r := w.do("PATCH", path, `{"position":{"lat":52.52,"lon":13.4}}`).want(200)
		if got := w.do("GET", path, ""); string(got.body) != string(r.body) || got.Header.Get("ETag") != r.Header.Get("ETag") {
			t.Errorf("answered with %s, it is %s", r.body, got.body)
		}
	}
	// With a condition it is checked.
	w.do("PATCH", path, `{"position":{"lat":5,"lon":5}}`, "If-Match", "4711").problem(412, "If-Match")
	w.do("PATCH", path, `{"position":{"lat":6,"lon":6}}`, "If-Match", "*").want(200)
	if p, moved := w.reg.Position(rollcall.NewKey("", "payments", "p-1")); !moved || p.Lat != 6 {
		t.Errorf("it is at %v, %v", p, moved)
	}
	if r := w.do("GET", path, ""); !strings.Contains(string(r.body), `"position":{"lat":6,"lon":6}`) {
		t.Errorf("it is %s", r.body)
	}
}
