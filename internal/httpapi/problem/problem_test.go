package problem_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/problem"
	"github.com/rollcall-registry/rollcall/internal/watch"
)

func TestSend(t *testing.T) {
	for _, c := range []struct {
		err                error
		status             int
		title, field, wait string
		known              bool
	}{
		{rollcall.Invalid("limit", "is wrong"), 400, "/problems/invalid", "limit", "", true},
		{fmt.Errorf("while asking: %w", rollcall.ErrNotFound), 404, "/problems/not-found", "", "", true},
		{&rollcall.Error{Kind: rollcall.ErrSettling, RetryAfter: 1500 * time.Millisecond}, 503, "/problems/settling", "", "2", true},
		{&rollcall.Error{Kind: rollcall.ErrInvalid, RetryAfter: time.Second}, 400, "/problems/invalid", "", "", true},
		{watch.ErrClosed, 503, "about:blank", "", "1", true},
		{&rollcall.Error{Kind: problem.ErrSlow, Cause: rollcall.ErrNotFound}, 408, "about:blank", "", "", true}, // whatever caused it
		{problem.Internal, 500, "about:blank", "", "", true},
		{errors.New("secret"), 500, "about:blank", "", "", false},
	} {
		d, known := problem.Of(c.err)
		if d.Status != c.status || d.Type != c.title || d.Field != c.field || known != c.known {
			t.Errorf("%v is %+v, known: %v", c.err, d, known)
		}
		w := httptest.NewRecorder()
		w.Header().Set("ETag", `"1"`) // of an answer that did not come to be
		d.Send(w)
		if w.Code != c.status || w.Header().Get("Retry-After") != c.wait || w.Header().Get("ETag") != "" {
			t.Errorf("%v is answered with %d and %v", c.err, w.Code, w.Header())
		}
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("an unforeseen error is shown: %s", w.Body)
		}
	}
}
