package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/problem"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// serve returns a client of a server with one handler.
func serve(t *testing.T, h http.HandlerFunc, opts ...Option) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return dial(t, s.URL, opts...)
}

func dial(t *testing.T, addr string, opts ...Option) *Client {
	t.Helper()
	c, err := Dial(addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// refused returns an address where nothing listens.
func refused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestProblemsBecomeErrors(t *testing.T) {
	for name, kind := range map[string]error{
		"invalid": rollcall.ErrInvalid, "too-large": rollcall.ErrTooLarge, "not-found": rollcall.ErrNotFound,
		"conflict": rollcall.ErrConflict, "precondition-failed": rollcall.ErrPrecondition,
		"unauthenticated": rollcall.ErrUnauthenticated, "forbidden": rollcall.ErrForbidden,
		"too-many-requests": rollcall.ErrTooMany, "not-implemented": rollcall.ErrUnsupported,
		"timed-out": rollcall.ErrTimeout, "log-unavailable": rollcall.ErrUnavailable,
		"not-synced": rollcall.ErrNotSynced, "settling": rollcall.ErrSettling,
	} {
		e := problem.Problem{Type: "/problems/" + name, Status: 500, Detail: "ttl: is short", Field: "ttl"}.Err()
		if e.Kind != kind || e.Error() != "ttl: is short" {
			t.Errorf("%s: %v of kind %v", name, e, e.Kind)
		}
	}
	for status, kind := range map[int]error{
		400: rollcall.ErrInvalid, 401: rollcall.ErrUnauthenticated, 403: rollcall.ErrForbidden, 404: rollcall.ErrNotFound,
		405: rollcall.ErrInvalid, 409: rollcall.ErrConflict, 412: rollcall.ErrPrecondition, 413: rollcall.ErrTooLarge,
		429: rollcall.ErrTooMany, 500: rollcall.ErrUnavailable, 501: rollcall.ErrUnsupported, 503: rollcall.ErrUnavailable,
	} {
		if e := (problem.Problem{Type: "about:blank", Status: status}).Err(); e.Kind != kind {
			t.Errorf("%d: kind %v, want %v", status, e.Kind, kind)
		}
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		addr := refused(t)
		_, err := dial(t, addr).Status(t.Context())
		wantKind(t, err, ErrUnreachable)
		for _, s := range []string{addr, "refused", "rollcall serve", "ROLLCALL_ADDR"} {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%q does not say %q", err, s)
			}
		}
	})
	t.Run("another kind of server", func(t *testing.T) {
		c := serve(t, http.NotFound)
		_, err := c.Status(t.Context())
		wantKind(t, err, ErrUnreachable)
		if !strings.Contains(err.Error(), "right address") {
			t.Error(err)
		}
	})
	t.Run("retry after", func(t *testing.T) {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "7")
			fail(w, 503, "settling", "wait")
		})
		_, err := c.Status(t.Context())
		wantKind(t, err, rollcall.ErrSettling)
		if e, ok := errors.AsType[*rollcall.Error](err); !ok || e.RetryAfter != 7*time.Second {
			t.Errorf("%#v", err)
		}
	})
	t.Run("slow", func(t *testing.T) {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, WithTimeout(20*time.Millisecond))
		_, err := c.Status(t.Context())
		wantKind(t, err, rollcall.ErrTimeout)
	})
}

func TestTokenIsSentButNeverShown(t *testing.T) {
	var got string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		http.Redirect(w, r, "http://127.0.0.1:1/elsewhere", http.StatusTemporaryRedirect)
	}, WithToken("s3cret"))
	_, err := c.Status(t.Context())
	if got != "Bearer s3cret" {
		t.Errorf("Authorization: %q", got)
	}
	if err == nil || strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "refused") {
		t.Errorf("after a redirect: %v", err)
	}
}

func TestAnotherServerIsAsked(t *testing.T) {
	answers := func(name string, status int, problem string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if problem != "" {
				fail(w, status, problem, name)
				return
			}
			answer(w, status, rollcall.ServerStatus{Version: name})
		}))
		t.Cleanup(s.Close)
		return s
	}
	good := answers("good", 200, "")
	for name, tt := range map[string]struct {
		first string
		kind  error // nil: the second answers
	}{
		"refused":    {first: refused(t)},
		"not synced": {first: answers("late", 503, "not-synced").URL},
		"invalid":    {first: answers("strict", 400, "invalid").URL, kind: rollcall.ErrInvalid},
	} {
		c := dial(t, tt.first+","+good.URL)
		for range 2 {
			got, err := c.Status(t.Context())
			if tt.kind != nil {
				wantKind(t, err, tt.kind)
			} else if err != nil || got.Version != "good" {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	}
}

func TestPathsAreEscaped(t *testing.T) {
	var got string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.URL.EscapedPath() + "?" + r.URL.RawQuery
		w.WriteHeader(http.StatusNoContent)
	})
	for id, want := range map[string]string{
		"a/b?c d%": "/api/v1/services/s/instances/a%2Fb%3Fc%20d%25?namespace=n",
		"..":       "/api/v1/services/s/instances/%2E%2E?namespace=n",
	} {
		if err := c.Deregister(t.Context(), rollcall.NewKey("n", "s", id)); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("id %q: %s, want %s", id, got, want)
		}
	}
}

func TestListingsAreReadPageByPage(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.FormValue("after") {
		case "":
			io.WriteString(w, `{"services":[{"service":"a"},{"service":"b"}],"next":"b"}`)
		case "b":
			io.WriteString(w, `{"services":[{"service":"c"}],"next":"c"}`)
		default:
			fail(w, 503, "log-unavailable", "gone")
		}
	})
	var got []string
	var last error
	for s, err := range c.Services(t.Context(), "") {
		if err != nil {
			last = err
			continue
		}
		got = append(got, s.Service)
	}
	if d := cmp.Diff([]string{"a", "b", "c"}, got); d != "" {
		t.Error(d)
	}
	wantKind(t, last, rollcall.ErrUnavailable)
}

func TestRegisterManyTellsWhatBecameOfEach(t *testing.T) {
	requests := 0
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		body, _ := io.ReadAll(r.Body)
		n := bytes.Count(body, []byte(`"service":`))
		io.WriteString(w, `{"results":[`)
		for i := range n {
			if i > 0 {
				io.WriteString(w, ",")
			}
			if i == 1 {
				io.WriteString(w, `{"service":"s","id":"x","status":400,"error":{"type":"/problems/invalid","status":400,"field":"ports.http","detail":"is 0"}}`)
				continue
			}
			fmt.Fprintf(w, `{"service":"s","id":"x","status":201,"revision":%d}`, i+1)
		}
		io.WriteString(w, `]}`)
	})
	all := make([]rollcall.Instance, wire.ManyItems+2)
	for i := range all {
		all[i].Service = "s"
	}
	got, err := c.RegisterMany(t.Context(), all)
	if err != nil || len(got) != len(all) || requests != 2 {
		t.Fatalf("%d results in %d requests, %v", len(got), requests, err)
	}
	if got[0].Err != nil || !got[0].Created || got[0].Revision != 1 || got[0].Key.ID == "" || got[0].Key == got[2].Key {
		t.Errorf("first: %+v", got[0])
	}
	wantKind(t, got[1].Err, rollcall.ErrInvalid)
	if got[1].Err.Error() != "ports.http: is 0" {
		t.Errorf("second: %v", got[1].Err)
	}
}

func TestBrokenBackupIsAnError(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
	})
	var b bytes.Buffer
	if err := c.Backup(t.Context(), &b); err == nil || b.String() != "half" {
		t.Errorf("wrote %q, %v", b.String(), err)
	}
}

func TestRegistryFieldsAreNotSent(t *testing.T) {
	var body string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		body = string(b)
		w.Write(b)
	})
	inst := rollcall.Instance{
		Service: "s", ID: "i", Health: &rollcall.Health{Status: rollcall.Healthy}, Origin: "http", Revision: 4,
		Incarnation: 3, RegisteredAt: time.Now(), EffectiveWeight: new(uint16(3)), Load: &rollcall.Load{RPS: 1}, Provisional: true,
	}
	if _, err := c.Put(t.Context(), inst); err != nil {
		t.Fatal(err)
	}
	if want := `{"service":"s","id":"i"}`; body != want {
		t.Errorf("sent %s, want %s", body, want)
	}
}

// TestRefusedAtOnce: what can never work is not tried in the background.
func TestRefusedAtOnce(t *testing.T) {
	if _, err := Dial("", WithSubset(3)); !errors.Is(err, rollcall.ErrInvalid) {
		t.Errorf("a subset of three: %v", err)
	}
	c, err := Dial("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, i := range []rollcall.Instance{{}, {Service: "x y"}, {Service: "x", Namespace: "/"}, {Service: "x", ID: "\n"}} {
		if _, err := c.Keep(i); !errors.Is(err, rollcall.ErrInvalid) {
			t.Errorf("%+v is kept: %v", i, err)
		}
	}
}
