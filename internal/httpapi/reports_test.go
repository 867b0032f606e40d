package httpapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi"
)

// heard is a core that notes from where callers report.
type heard struct {
	httpapi.Registry
	from []netip.Addr
}

func (h *heard) Report(_ context.Context, _ rollcall.ServiceKey, from netip.Addr, _ *rollcall.CallerReport) error {
	h.from = append(h.from, from)
	return nil
}

// TestReportSaysFromWhere: a report comes from the address that its connection does,
// whatever its headers say.
func TestReportSaysFromWhere(t *testing.T) {
	core := &heard{}
	s := httpapi.New(core, httpapi.Options{})
	for _, peer := range []string{"192.0.2.7:4711", "[2001:db8::7]:4711", "@"} {
		r := httptest.NewRequest("POST", "/api/v1/services/payments/reports", strings.NewReader(`{"caller":"web-1","window":"5s","instances":[]}`))
		r.RemoteAddr = peer
		r.Header.Set("X-Forwarded-For", "203.0.113.1")
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != http.StatusAccepted {
			t.Fatal(w.Code, w.Body)
		}
	}
	if len(core.from) != 3 || core.from[0].String() != "192.0.2.7" || core.from[1].String() != "2001:db8::7" || core.from[2].IsValid() {
		t.Errorf("from %v", core.from)
	}
}
