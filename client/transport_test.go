package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
)

// serveAs registers an instance that answers with its name.
func serveAs(t *testing.T, c *client.Client, namespace, service, id string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, id, " for ", r.Host) }))
	t.Cleanup(s.Close)
	_, err := c.Put(t.Context(), rollcall.Instance{
		Namespace: namespace, Service: service, ID: id, Address: "127.0.0.1",
		Ports: map[string]uint16{"http": uint16(s.Listener.Addr().(*net.TCPAddr).Port)},
		Lease: rollcall.Lease{Mode: rollcall.LeaseNone},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTransport(t *testing.T) {
	c := start(t)
	serveAs(t, c, "", "payments", "p-1")
	serveAs(t, c, "shop", "payments", "s-1")
	web := &http.Client{Transport: c.Transport(nil)}
	get := func(url string) (string, error) {
		resp, err := web.Get(url)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return string(b), err
	}
	for url, want := range map[string]string{
		"http://payments/":                       "p-1 for payments",
		"http://payments.shop.service.rollcall/": "s-1 for payments.shop.service.rollcall",
	} {
		if got, err := get(url); got != want || err != nil {
			t.Errorf("%s: %q, %v; want %q", url, got, err, want)
		}
	}
	_, err := get("http://paymets/")
	wantKind(t, err, rollcall.ErrNotFound)
	if !strings.Contains(err.Error(), "paymets") {
		t.Errorf("%v does not say which", err)
	}
	if err := c.Deregister(t.Context(), rollcall.NewKey("", "payments", "p-1")); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { _, err = get("http://payments/"); return errors.Is(err, client.ErrNoInstances) })
	web.CloseIdleConnections()
}

// TestDrainWaitsForWhatIsOnItsWay: a caller has not acted on a drain while a request
// that it picked before may still be sent.
func TestDrainWaitsForWhatIsOnItsWay(t *testing.T) {
	c := start(t)
	client.SettleFor(c, time.Minute)
	serveAs(t, c, "", "payments", "p-1")
	p, done, err := c.Pick(t.Context(), "payments")
	if err != nil {
		t.Fatal(err)
	}
	key := p.Instance().Key()
	b, err := c.Drain(t.Context(), key, 100*time.Millisecond)
	if err != nil || b.Acknowledged != 0 || b.Pending != 1 {
		t.Errorf("with a request under way: %+v, %v", b, err)
	}
	done(nil)
	if b, err = c.Drain(t.Context(), key, 10*time.Second); err != nil || b.Acknowledged != 1 || b.Pending != 0 {
		t.Errorf("when it is over: %+v, %v", b, err)
	}
}

// Requests go to an instance of the service payments, each to the one that is picked.
func ExampleClient_Transport() {
	c, err := client.Dial("127.0.0.1:7070")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	web := &http.Client{Transport: c.Transport(nil)}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://payments/charge", strings.NewReader(`{"cents":990}`))
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", "order-4711") // so that it may be sent again
	resp, err := web.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
}
