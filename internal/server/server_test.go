package server_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/internal/record"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
	"github.com/rollcall-registry/rollcall/internal/server"
	"github.com/rollcall-registry/rollcall/internal/webhook"
)

func dial(t *testing.T, s *rollcalltest.Server) *client.Client {
	t.Helper()
	c, err := client.Dial(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestListensOnLoopbackOnly: anything else takes a word that it is meant.
func TestListensOnLoopbackOnly(t *testing.T) {
	for addr, ok := range map[string]bool{
		"127.0.0.1:0": true, "127.8.8.8:0": true, "[::1]:0": true, "localhost:0": true,
		"0.0.0.0:0": false, ":0": false, "[::]:0": false, "10.0.0.1:0": false, "example.com:0": false, "127.0.0.1": false,
	} {
		s, err := server.New(server.Config{DataDir: t.TempDir(), HTTP: addr})
		if err == nil {
			s.Close()
		} else if ok && strings.Contains(err.Error(), "--insecure") {
			t.Errorf("%s: %v", addr, err)
		}
		if !ok && err == nil {
			t.Errorf("%s: a server listens there", addr)
		}
	}
	s, err := server.New(server.Config{DataDir: t.TempDir(), HTTP: "0.0.0.0:0", Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// TestStaticServices: they are what the configuration says, start after start.
func TestStaticServices(t *testing.T) {
	dir := t.TempDir()
	printer := rollcall.Instance{Service: "printer", ID: "p-1", Address: "10.0.3.17", Ports: map[string]uint16{"lpd": 631}}
	other := printer
	other.ID = "p-2"
	run := func(static []rollcall.Instance, want string) {
		t.Helper()
		s := rollcalltest.Run(t, server.Config{DataDir: dir, Static: static})
		c := dial(t, s)
		var ids []string
		for i, err := range c.Instances(t.Context(), rollcall.InstanceFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, i.ID+" "+i.Origin+" "+string(i.Lease.Mode))
		}
		if got := strings.Join(ids, ", "); got != want {
			t.Errorf("registered are %s, want %s", got, want)
		}
		if len(static) == 2 {
			mine := rollcall.Instance{Service: "printer", ID: "mine", Lease: rollcall.Lease{Mode: rollcall.LeaseNone}}
			if _, err := c.Put(t.Context(), mine); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	run([]rollcall.Instance{printer, other}, "p-1 config none, p-2 config none")
	run([]rollcall.Instance{other}, "mine http none, p-2 config none")
	run(nil, "mine http none")

	printer.Lease.Mode = rollcall.LeaseTTL
	s, err := server.New(server.Config{DataDir: dir, Static: []rollcall.Instance{printer}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context(), func() { t.Error("ready") }); err == nil || !strings.Contains(err.Error(), "printer/p-1") {
		t.Errorf("a static instance with a lease: %v", err)
	}
}

// TestWebhooks: they are told of changes of health, and not again after a
// restart.
func TestWebhooks(t *testing.T) {
	told := make(chan []rollcall.Event, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var d struct{ Events []rollcall.Event }
		if err := json.NewDecoder(r.Body).Decode(&d); err != nil {
			t.Error(err)
		}
		told <- d.Events
	}))
	defer receiver.Close()
	c := server.Config{
		DataDir: t.TempDir(), Webhooks: []webhook.Hook{{Name: "pager", URL: receiver.URL, Secret: strings.Repeat("x", 16)}},
		ProbeAllow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, // else nobody calls this machine's own services
	}
	key := rollcall.NewKey("", "payments", "p-1")
	override := func(s *rollcalltest.Server, status rollcall.Status) {
		t.Helper()
		if err := dial(t, s).Override(t.Context(), key, rollcall.Override{Status: status}); err != nil {
			t.Fatal(err)
		}
		es := <-told
		if len(es) != 1 || es[0].Type != "override" || es[0].ID != "p-1" || es[0].After != status {
			t.Errorf("%+v, want the override to %v alone", es, status)
		}
	}
	s := rollcalltest.Run(t, c)
	if _, err := dial(t, s).Put(t.Context(), rollcall.Instance{Service: "payments", ID: "p-1", Lease: rollcall.Lease{Mode: rollcall.LeaseNone}}); err != nil {
		t.Fatal(err)
	}
	override(s, rollcall.Unhealthy)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	override(rollcalltest.Run(t, c), rollcall.Degraded)

	c.Webhooks[0].Secret = "short"
	if _, err := server.New(c); err == nil || !strings.Contains(err.Error(), "pager") {
		t.Errorf("a webhook without a secret: %v", err)
	}
}

// TestMetrics: names follow the conventions, and what is promised is there.
func TestMetrics(t *testing.T) {
	s := rollcalltest.Start(t)
	c := dial(t, s)
	if _, err := c.Put(t.Context(), rollcall.Instance{Service: "payments", ID: "p-1"}); err != nil {
		t.Fatal(err)
	}
	for _, err := range c.Watch(t.Context(), rollcall.Query{Service: "payments"}) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	resp, err := http.Get("http://" + s.Addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"rollcall_instances 1", "rollcall_registrations_total 1", "rollcall_log_healthy 1",
		"rollcall_log_fsync_seconds_count", "rollcall_watch_propagation_seconds_count",
		"rollcall_http_requests_total{", "go_goroutines", "process_resident_memory_bytes",
	} {
		if !strings.Contains(text.String(), "\n"+name) {
			t.Errorf("there is no %s", name)
		}
	}
	problems, err := promlint.New(&text).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "rollcall_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// TestHistoryOutlivesItsLog: events are there after a restart, once each, and
// still when the log is gone; then they end with a gap.
func TestHistoryOutlivesItsLog(t *testing.T) {
	dir := t.TempDir()
	run := func(id, want string) {
		t.Helper()
		s := rollcalltest.Run(t, server.Config{DataDir: dir})
		c := dial(t, s)
		if _, err := c.Put(t.Context(), rollcall.Instance{Service: "payments", ID: id, Lease: rollcall.Lease{Mode: rollcall.LeaseNone}}); err != nil {
			t.Fatal(err)
		}
		var got []string
		for e, err := range c.Events(t.Context(), rollcall.EventFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.TrimSpace(e.Type+" "+e.ID))
		}
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("with %s: %s, want %s", id, got, want)
		}
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	run("p-1", "registered p-1")
	run("p-2", "registered p-2, registered p-1")
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name.Name() != "history" {
			os.Remove(filepath.Join(dir, name.Name()))
		}
	}
	run("p-3", "registered p-3, gap, registered p-2, registered p-1")
}

// TestBackupAndRestore goes through the API and back into a server.
func TestBackupAndRestore(t *testing.T) {
	first := rollcalltest.Start(t)
	c := dial(t, first)
	for _, id := range []string{"p-1", "p-2"} {
		if _, err := c.Put(t.Context(), rollcall.Instance{Service: "payments", ID: id, Lease: rollcall.Lease{Mode: rollcall.LeaseNone}}); err != nil {
			t.Fatal(err)
		}
	}
	query, err := c.PutQuery(t.Context(), rollcall.NamedQuery{Name: "pay", Service: "payments", Failover: []rollcall.QueryTarget{{Service: "pay-dr"}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := c.Backup(t.Context(), &file); err != nil {
		t.Fatal(err)
	}
	b, err := server.VerifyBackup(bytes.NewReader(file.Bytes()))
	if err != nil || b.Instances != 2 || b.Revision != 3 {
		t.Fatalf("%+v, %v", b, err)
	}
	for _, cut := range []int{0, 5, file.Len() / 2, file.Len() - 1} {
		dir := filepath.Join(t.TempDir(), "data")
		if err := server.Restore(dir, bytes.NewReader(file.Bytes()[:cut])); !errors.Is(err, record.ErrDamaged) {
			t.Errorf("cut at %d: %v", cut, err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("cut at %d: %v is left", cut, left)
		}
	}
	dir := t.TempDir()
	if err := server.Restore(dir, bytes.NewReader(file.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := server.Restore(dir, bytes.NewReader(file.Bytes())); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("restored over a log: %v", err)
	}
	second := rollcalltest.Run(t, server.Config{DataDir: dir})
	ans, err := dial(t, second).Resolve(t.Context(), rollcall.Query{Service: "payments"})
	if err != nil || len(ans.Instances) != 2 || ans.Token.Log == b.Log {
		t.Errorf("restored: %d instances of log %s, %v; want two, and a log of its own", len(ans.Instances), ans.Token.Log, err)
	}
	if q, err := dial(t, second).Query(t.Context(), query.Key()); err != nil || !q.Same(&query) || !q.UpdatedAt.Equal(query.UpdatedAt) || q.By != query.By {
		t.Errorf("restored: query %+v, %v; it was %+v", q, err, query)
	}
}
