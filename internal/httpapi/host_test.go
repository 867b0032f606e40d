package httpapi_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall/internal/httpapi"
)

// A name that somebody points to a loopback address makes their page no page of
// this server's.
func TestLoopbackOnly(t *testing.T) {
	w := newWorld(t, httpapi.Options{LoopbackOnly: true})
	w.register("s", "i")
	ask := func(h *httpapi.Server, method, path, host string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(`{"address":"10.0.0.1"}`))
		r.Host = host
		r.Header.Set("Origin", "http://"+host)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec
	}
	for _, host := range []string{
		"localhost", "localhost:7070", "LocalHost.:7070", "localhost:", "a.localhost", "a.b.LOCALHOST.:1",
		"127.0.0.1", "127.0.0.1:7070", "127.9.9.9.", "[::1]", "[::1]:7070", "[::ffff:127.0.0.1]:7070",
	} {
		if rec := ask(w.handler, "PUT", "/api/v1/services/s/instances/i", host); rec.Code != 200 {
			t.Errorf("%q is answered with %d: %s", host, rec.Code, rec.Body)
		}
	}
	foreign := []string{
		"evil.example:7070", "evil.example", "", ":7070", ".", ".localhost", "evillocalhost", "localhost.evil.example",
		"127.0.0.1.evil.example", "localhost:7070@evil.example", "evil.example:localhost", "localhost:x", "localhost..", "0.0.0.0:7070",
		"10.0.0.1", "[::]", "[::1", "::1]", "[::1]x", "[localhost]", "[fe80::1%25lo]:7070", "128.0.0.1", "2130706433", strings.Repeat("x", 5000),
	}
	for _, host := range foreign {
		for _, what := range []string{"PUT /api/v1/services/s/instances/i", "GET /api/v1/services/s", "GET /livez", "GET /nothing"} {
			method, path, _ := strings.Cut(what, " ")
			rec := ask(w.handler, method, path, host)
			if rec.Code != 403 || !strings.Contains(rec.Body.String(), `"field":"Host"`) || !strings.Contains(rec.Body.String(), "localhost") {
				t.Errorf("%.40q, %s is answered with %d: %s", host, what, rec.Code, rec.Body)
			}
		}
	}
	// Whoever opens the server to others says which names it has by doing so.
	anyone := newWorld(t, httpapi.Options{})
	anyone.register("s", "i")
	if rec := ask(anyone.handler, "PUT", "/api/v1/services/s/instances/i", "registry.example:7070"); rec.Code != 200 {
		t.Errorf("without LoopbackOnly: %d: %s", rec.Code, rec.Body)
	}
}
