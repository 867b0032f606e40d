package httpapi_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi"
)

func TestOversize(t *testing.T) {
	w := newWorld(t, httpapi.Options{MaxBody: 1000, MaxBatchBody: 3000, MaxBatch: 10})
	pad := strings.Repeat(" ", 1000)
	for _, c := range []struct{ method, path string }{
		{"PUT", "/api/v1/services/s/instances/i"},
		{"PATCH", "/api/v1/services/s/instances/i"},
		{"POST", "/api/v1/services/s/instances"},
		{"POST", "/api/v1/services/s/instances/i/heartbeat"},
		{"PUT", "/api/v1/services/s/instances/i/override"},
		{"PUT", "/api/v1/services/s/settings"},
		{"PUT", "/api/v1/queries/q"},
	} {
		r := w.do(c.method, c.path, "{}"+pad)
		if got := r.problem(413, ""); !strings.Contains(got, "1000 bytes") || !r.Close {
			t.Errorf("%s %s: %s, closed: %v", c.method, c.path, got, r.Close)
		}
	}
	for _, path := range []string{"/api/v1/instances", "/api/v1/heartbeats"} {
		w.do("POST", path, "[]"+pad+pad+pad).problem(413, "")
	}
	w.do("POST", "/api/v1/instances", "["+strings.Repeat(`{"service":"s"},`, 10)+`{"service":"s"}]`).problem(413, "")

	entry := `{"service":"s","id":"i"}`
	w.do("POST", "/api/v1/heartbeats", `{"renew":[`+strings.Repeat(entry+",", 9)+entry+`]}`).want(200)
	if got := w.do("POST", "/api/v1/heartbeats", `{"renew":[`+strings.Repeat(entry+",", 10)+entry+`]}`).problem(413, ""); !strings.Contains(got, "more than 10 renewals") {
		t.Error(got)
	}

	// A body that does not say how long it is.
	chunked, err := http.NewRequest("PUT", w.http.URL+"/api/v1/services/s/instances/i", io.MultiReader(strings.NewReader("{}"), strings.NewReader(pad)))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.client.Do(chunked)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 413 || !resp.Close {
		t.Errorf("chunked: %s, closed: %v", resp.Status, resp.Close)
	}
}

// answered reads an answer from a raw connection and returns its status.
func answered(t *testing.T, r io.Reader) int {
	t.Helper()
	var code int
	if _, err := fmt.Fscanf(r, "HTTP/1.1 %d", &code); err != nil {
		t.Fatal(err)
	}
	return code
}

func TestSlowBody(t *testing.T) {
	w := newWorld(t, httpapi.Options{BodyTimeout: 50 * time.Millisecond, WriteTimeout: 100 * time.Millisecond})
	w.register("s", "i")
	_, r := w.raw("PUT /api/v1/services/s/instances/i HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"address\":")
	if code := answered(t, r); code != 408 {
		t.Errorf("a body that does not come is answered with %d", code)
	}
	if _, err := io.ReadAll(r); err != nil {
		t.Errorf("the connection is not closed: %v", err)
	}
	// Nor does one that no handler wants hold the connection.
	for _, head := range []string{"GET /api/v1/services/s", "GET /nothing", "POST /livez", "PUT /api/v1/services/s/instances/i?x=y"} {
		_, r := w.raw(head + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
		if _, err := io.ReadAll(r); err != nil {
			t.Errorf("%s: the connection is not closed: %v", head, err)
		}
	}
	// No deadline is left behind for what follows on a connection.
	_, r = w.raw("GET /api/v1/backup HTTP/1.1\r\nHost: x\r\n\r\nGET /api/v1/services/s?wait=400ms&after=" + w.tokenOf("s") + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if all, err := io.ReadAll(r); err != nil || strings.Count(string(all), "HTTP/1.1 200 OK") != 2 {
		t.Errorf("%v: %.300s", err, all)
	}
	// The deadline is the body's alone: a slow answer outlasts it.
	token := w.tokenOf("s")
	_, r = w.raw("POST /api/v1/services/s/instances/i/heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" +
		"GET /api/v1/services/s?wait=200ms&after=" + token + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	all, err := io.ReadAll(r)
	if err != nil || strings.Count(string(all), "HTTP/1.1 200 OK") != 2 {
		t.Errorf("%v: %s", err, all)
	}
}

func (w *world) tokenOf(service string) string {
	etag := w.do("GET", "/api/v1/services/"+service, "").want(200).Header.Get("ETag")
	return strings.Trim(etag, `"`)
}

func TestTruncatedBody(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	c, r := w.raw("PUT /api/v1/services/s/instances/i HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"address\":\"10.0.0.1\"}")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if code := answered(t, r); code != 400 {
		t.Errorf("half a body is answered with %d", code)
	}
	w.do("GET", "/api/v1/services/s/instances/i", "").want(404)
}

func TestDeepNesting(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	deep := strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000)
	w.do("PUT", "/api/v1/services/s/instances/i", `{"health":`+deep+`}`).want(400)
	w.do("PUT", "/api/v1/services/s/instances/i", deep).problem(400, "a")
	w.register("s", "i")
	if got := w.do("PATCH", "/api/v1/services/s/instances/i", `{"metadata":`+deep+`}`).want(400); !strings.Contains(string(got.body), "nests deeper") {
		t.Errorf("%s", got.body)
	}
	w.do("PATCH", "/api/v1/services/s/instances/i", `{"metadata":`+strings.Repeat("[", 30_000)+strings.Repeat("]", 30_000)+`}`).want(400)
}

func TestLongHeaders(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	w.do("GET", "/livez", "", "X-Long", strings.Repeat("x", 64<<10)).want(431)
}

// What is echoed is bounded and has no control characters.
func TestEcho(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	long := strings.Repeat("n", 10_000)
	for _, body := range []string{
		`{"` + long + `":1}`,
		`{"address":"` + long + `"}`,
		`{"warmup":"` + long + `"}`,
		`{"weight":` + strings.Repeat("9", 10_000) + `}`,
		`{"lease":{"mode":"\u001b[31m\u0000\u2028\u202e` + long + `"}}`,
		`{"\u001b]0;evil\u0007":1}`,
		`{"metadata":{"a\u0000b\u009b":1}}`,
		"{\"" + long + "\":\"\xff\"}",
	} {
		r := w.do("PUT", "/api/v1/services/s/instances/i", body).want(400)
		if len(r.body) > 2000 {
			t.Errorf("%.30s is answered with %d bytes", body, len(r.body))
		}
		for _, c := range string(r.body) {
			if c < ' ' && c != '\n' || c == 0x7f || 0x80 <= c && c < 0xa0 || c == 0x2028 {
				t.Errorf("%.30s is answered with %q in it", body, c)
			}
		}
		if strings.Contains(string(r.body), `\u001b`) || strings.Contains(string(r.body), `\u0000`) {
			t.Errorf("%.30s is echoed as %s", body, r.body)
		}
	}
	w.do("GET", "/"+escape(strings.Repeat("\x1b", 2000)), "").want(404)
	w.do("GET", "/api/v1/services/s?"+strings.Repeat("q", 10_000)+"=1", "").want(400)
}

// A header does not change where a registration comes from.
func TestAddressIsThePeers(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	r := w.do("PUT", "/api/v1/services/s/instances/i", `{}`, "X-Forwarded-For", "10.9.9.9", "Forwarded", "for=10.9.9.9", "X-Real-IP", "10.9.9.9").want(201)
	if !strings.Contains(string(r.body), `"address":"127.0.0.1"`) {
		t.Errorf("%s", r.body)
	}
}

// A web page cannot register anything on the machine of whoever looks at it.
// What an address was vouched for with is no leave for others to have other things
// probed there.
func TestPatchesFromElsewhere(t *testing.T) {
	const here, elsewhere = "127.0.0.1:999", "10.0.0.9:999"
	for _, tt := range []struct {
		peer, patch string
		want        bool
	}{
		{elsewhere, `{"version":"2"}`, true},
		{elsewhere, `{"address":"127.0.0.1","ports":{"http":8080},"checks":[{"name":"c","type":"http","interval":"10s","deregister_after":"1h"}]}`, true},
		{elsewhere, `{"checks":[{"name":"c","type":"http","target":":9200/_cat/indices"}]}`, false},
		{elsewhere, `{"checks":[{"name":"c","type":"http"},{"name":"d","type":"tcp","target":":22"}]}`, false},
		{elsewhere, `{"checks":[{"name":"c","type":"http","interval":"1s"}]}`, false},
		{elsewhere, `{"ports":{"http":9200}}`, false},
		{elsewhere, `{"ports":{"admin":9200}}`, false},
		{elsewhere, `{"address":"127.0.0.2"}`, false},
		{here, `{"checks":[{"name":"c","type":"http","target":":9200"}],"ports":{"http":9200}}`, true},
		{here, `{"address":"127.0.0.2"}`, true},
	} {
		w := newWorld(t, httpapi.Options{})
		const path = "/api/v1/services/s/instances/i"
		send := func(method, peer, body string) {
			t.Helper()
			r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
			r.RemoteAddr = peer
			rec := httptest.NewRecorder()
			if w.handler.ServeHTTP(rec, r); rec.Code >= 300 {
				t.Fatalf("%s from %s is answered with %d: %s", body, peer, rec.Code, rec.Body)
			}
		}
		send("PUT", here, `{"address":"127.0.0.1","ports":{"http":8080},"checks":[{"name":"c","type":"http"}]}`)
		send("PATCH", tt.peer, tt.patch)
		i, err := w.reg.Instance(t.Context(), rollcall.NewKey("", "s", "i"))
		if err != nil {
			t.Fatal(err)
		}
		if i.Vouched != tt.want {
			t.Errorf("%s from %s: vouched for: %v, want %v", tt.patch, tt.peer, i.Vouched, tt.want)
		}
	}
}

func TestForeignPages(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	const path, body = "/api/v1/instances", `[{"service":"s","id":"i","address":"10.0.0.1"}]`
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "http://evil.example"},
		{"Origin", "null"},
	} {
		w.do("POST", path, body, append(headers, "Content-Type", "application/x-www-form-urlencoded")...).problem(403, "")
		if r := w.do("GET", "/api/v1/services", "", headers...).want(200); r.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Error("any page may read")
		}
	}
	w.do("POST", path, body, "Sec-Fetch-Site", "same-origin", "Origin", w.http.URL).want(200)
}

// 10,000 connections that send nothing hold nobody up.
func TestIdleConnections(t *testing.T) {
	n := connections()
	w := newWorld(t, httpapi.Options{})
	w.register("payments", "p-1")
	before := inUse()
	for i := range n {
		half := "GET /api/v1/services/payments HTTP/1.1\r\nHost: x\r\n"
		if i%2 == 0 {
			half = ""
		}
		w.raw(half)
	}
	for range 100 {
		w.do("GET", "/api/v1/services/payments", "").want(200)
		w.do("POST", "/api/v1/services/payments/instances/p-1/heartbeat", "").want(200)
	}
	if each := int64(inUse()-before) / int64(n); each > 32<<10 {
		t.Errorf("an idle connection costs %d bytes", each)
	}
}

// Encodings of a request that would have to be undone are refused.
func TestNoDecompression(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	for _, coding := range []string{"gzip", "br", "deflate", "zstd"} {
		w.do("PUT", "/api/v1/services/s/instances/i", "{}", "Content-Encoding", coding).problem(415, "Content-Encoding")
	}
	w.do("PUT", "/api/v1/services/s/instances/i", "{}", "Content-Encoding", "identity").want(201)
}

func TestAcceptEncoding(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	for n := range 20 {
		w.register("payments", fmt.Sprintf("p-%d", n))
	}
	plain := w.do("GET", "/api/v1/services/payments", "").want(200)
	for header, want := range map[string]bool{
		"gzip": true, "gzip, deflate, br": true, "deflate, gzip;q=0.5": true, "GZIP": true, "br , gzip ; q=1": true,
		"": false, "identity": false, "gzip;q=0": false, "br, gzip;q=0.0": false, "x-gzip-ish": false, "*": false,
	} {
		r := w.do("GET", "/api/v1/services/payments", "", "Accept-Encoding", header).want(200)
		body := r.body
		if packed := r.Header.Get("Content-Encoding") == "gzip"; packed != want {
			t.Errorf("Accept-Encoding %q: compressed %v", header, packed)
		} else if packed {
			body = unzip(t, body)
		}
		if string(body) != string(plain.body) || r.Header.Get("Vary") != "Accept-Encoding" || r.ContentLength != int64(len(r.body)) {
			t.Errorf("Accept-Encoding %q: %v, %d bytes of %d", header, r.Header, len(body), len(plain.body))
		}
	}
	w.register("small", "s-1")
	if r := w.do("GET", "/api/v1/services/small", "", "Accept-Encoding", "gzip").want(200); r.Header.Get("Content-Encoding") != "" {
		t.Errorf("%d bytes were compressed", len(r.body))
	}
}

// A view that changed is not answered from what was kept of the old one.
func TestKeptAnswersDie(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	for n := range 5 {
		id := fmt.Sprintf("p-%d", n)
		w.register("payments", id)
		for _, encoding := range []string{"identity", "gzip"} {
			for _, query := range []string{"", "?health=any", "?limit=100"} {
				r := w.do("GET", "/api/v1/services/payments"+query, "", "Accept-Encoding", encoding).want(200)
				body := r.body
				if r.Header.Get("Content-Encoding") == "gzip" {
					body = unzip(t, body)
				}
				if !strings.Contains(string(body), `"`+id+`"`) || !strings.Contains(string(body), strings.Trim(r.Header.Get("ETag"), `"`)) {
					t.Errorf("%s %q lacks %s: %.100s", encoding, query, id, body)
				}
			}
		}
	}
}

// Selections that are made to cost much are refused, or stopped, and cost little.
func TestHostileSelections(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	numbers := "[" + strings.TrimSuffix(strings.Repeat("1,", 200), ",") + "]"
	for n := range 20 {
		w.put("payments", fmt.Sprintf("p-%d", n), `{"address":"10.0.0.1","version":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab","capabilities":{"n":`+numbers+`}}`)
	}
	for _, c := range []struct {
		name, value, field string
		code               int
	}{
		{"filter", strings.Repeat("true || ", 600) + "true", "filter", 400},
		{"filter", strings.Repeat("(", 1000) + "true" + strings.Repeat(")", 1000), "filter", 400},
		{"filter", strings.Repeat("!", 3000) + "true", "", 200}, // which is as good as none
		{"filter", "cap.n.all(a, cap.n.all(b, cap.n.all(c, a + b + c > 0)))", "filter", 400},
		{"filter", "cap.n.all(a, cap.n.all(b, a + b > 0))", "", 200},
		{"filter", `version.matches("(a*)*(a*)*(a*)*(a*)*c")`, "", 200},
		{"filter", `version.matches("((a{1,100}){1,100}){1,100}")`, "filter", 400},
		{"filter", `id.matches(version)`, "filter", 400},
		{"filter", "\xff\xfe", "filter", 400},
		{"filter", "\x00", "filter", 400},
		{"near", "NaN,0", "near", 400},
		{"near", "0,Inf", "near", 400},
		{"near", "1e400,0", "near", 400},
		{"near", "zone:" + strings.Repeat("x/", 1000), "near", 400},
		{"near", "instance:" + strings.Repeat("x", 1000) + "/y", "near", 400},
		{"subset", strings.Repeat("x", 257), "subset", 400},
		{"pick", "2147483647", "pick", 400},
		{"limit", "2147483647", "", 200},
	} {
		r := w.do("GET", "/api/v1/services/payments?"+url.Values{c.name: {c.value}}.Encode(), "")
		if c.code == 400 {
			if detail := r.problem(400, c.field); len(detail) > 600 {
				t.Errorf("%s=%.40s… is refused in %d bytes: %.100s…", c.name, c.value, len(detail), detail)
			}
			continue
		}
		r.want(c.code)
	}
}

func FuzzQuery(f *testing.F) {
	f.Add("")
	f.Add("namespace=shop&health=any&cap.gpu=2&cap.gpu=3&meta.team=a%26b&limit=5&caller=web")
	f.Add("min_revision=7&max_age=5s&consistent=1&after=0123456789abcdef-7-1&wait=30s")
	f.Add("filter=cap.gpu+%3E%3D+2&near=52.52,13.40&pick=1&subset=me&subset_size=20&at=2026-01-02T15:04:05Z")
	f.Add("filter=%22av1%22+in+cap.codecs+%26%26+semver(version)+%3E%3D+semver(%222.3.0%22)&near=zone:eu-west/eu-west-1a&limit=3")
	f.Add("near=instance:payments/p-1%2F2&subset=web%00&subset_size=2147483648&pick=0")
	f.Add("near=-0,180&near=NaN,Inf&filter=&subset_size=+20&pick=1e2")
	f.Add("%zz&;&&a=b&limit=-1")
	f.Fuzz(func(t *testing.T, raw string) {
		q, err := httpapi.ParseQuery(raw)
		if err != nil {
			var e *rollcall.Error
			if !errors.As(err, &e) || e.Kind != rollcall.ErrInvalid || e.Detail == "" {
				t.Errorf("%q: %#v", raw, err)
			}
			return
		}
		// The client writes queries with Values; what it writes is what is read.
		again, err := httpapi.ParseQuery(q.Values().Encode())
		if err != nil {
			t.Fatalf("%q was read as %+v, and that is refused: %v", raw, q, err)
		}
		if q.Selection() != again.Selection() || q.Key() != again.Key() || q.After != again.After || q.Wait != again.Wait ||
			q.MinRevision != again.MinRevision || q.MaxAge != again.MaxAge || q.Consistent != again.Consistent || q.Caller != again.Caller {
			t.Errorf("%q: %s", raw, cmp.Diff(q, again))
		}
	})
}
