package httpapi_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// Guards are as the document says, also that on everything.
func TestGuardIsAsDescribed(t *testing.T) {
	s := newSpec(t)
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for _, g := range []rollcall.Guard{
		{Since: now, Reason: "8 of 8 instances are silent or late", Held: 6},
		{Namespace: "default", Service: "payments", Since: now, Reason: "x"},
	} {
		text, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		s.validate(t, "#/components/schemas/Guard", text)
	}
}
