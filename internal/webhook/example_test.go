package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// verify reports whether header, the Rollcall-Signature of a request, is body's
// and not older than five minutes.
func verify(secret, header string, body []byte, now time.Time) bool {
	t, v1, _ := strings.Cut(strings.TrimPrefix(header, "t="), ",v1=")
	sent, err := strconv.ParseInt(t, 10, 64)
	if err != nil || now.Sub(time.Unix(sent, 0)).Abs() > 5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s.%s", t, body)
	got, err := hex.DecodeString(v1)
	return err == nil && hmac.Equal(got, mac.Sum(nil))
}

// A receiver verifies the signature before it reads anything else of a request.
func ExampleHook_verify() {
	header := "t=1700000000,v1=140003924c5908d3a13a6eeee87a2444404b5741f0a94bebd37fc8dff81eb27c"
	body := []byte(`{"id":"x"}`)
	fmt.Println(verify("sixteen bytes !!", header, body, time.Unix(1700000002, 0)))
	fmt.Println(verify("sixteen bytes !!", header, body, time.Unix(1700009999, 0))) // sent again by somebody else
	// Output:
	// true
	// false
}

// TestDocs: what the documentation shows is what is tested here.
func TestDocs(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(source), "\nfunc verify(")
	body, _, ok := strings.Cut(after, "\n}\n")
	if !ok || !strings.Contains(string(docs), "func verify("+body+"\n}\n") {
		t.Error("docs/operations.md does not show verify as it is here")
	}
}
