package server

import (
	"context"
	"testing"

	"github.com/miekg/dns"
)

// While the log is being read, DNS says that there is no answer yet; and the server can
// be interrupted.
func TestDNSWhileTheLogIsRead(t *testing.T) {
	s, err := New(Config{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { // nobody runs the registry, so it never has
		done <- s.serve(ctx, t.Context(), func() { t.Error("ready") })
	}()
	for _, network := range []string{"udp", "tcp"} {
		q := new(dns.Msg).SetQuestion("payments.service.rollcall.", dns.TypeA)
		a, _, err := (&dns.Client{Net: network}).Exchange(q, s.DNSAddr())
		if err != nil || a.Rcode != dns.RcodeServerFailure {
			t.Errorf("by %s: %v, %v", network, a, err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("interrupted: %v", err)
	}
	if err := s.history.Close(); err != nil {
		t.Error(err)
	}
	if err := s.log.Close(); err != nil {
		t.Error(err)
	}
}
