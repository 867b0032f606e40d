package httpapi_test

import (
	"bytes"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall/internal/httpapi"
)

// TestPastHasNoTag: what was at one time is not taken for what was at another, nor
// for what is: health may differ though the revision does not.
func TestPastHasNoTag(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	const path = "/api/v1/services/payments"
	w.register("payments", "p-1")
	then := time.Now()
	present := w.do("GET", path, "").want(200).Header.Get("Etag")
	w.do("POST", path+"/instances/p-1/drain", "").want(200)
	for _, h := range []string{"", "gzip"} {
		for _, match := range []string{present, "*", `"-0-0"`, `""`} {
			r := w.do("GET", path+"?at="+url.QueryEscape(then.Format(time.RFC3339Nano)), "", "If-None-Match", match, "Accept-Encoding", h).want(http.StatusOK)
			if tag, sent := r.Header["Etag"]; sent || !bytes.Contains(r.body, []byte(`"token":"",`)) || !bytes.Contains(r.body, []byte(`"total":1`)) {
				t.Errorf("If-None-Match: %s: ETag %v, %s", match, tag, r.body)
			}
		}
	}
}
