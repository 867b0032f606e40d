package local

import (
	"bytes"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// TestFirst: a log knows whether it was opened before since it was created or
// restored, also if nothing was written to it.
func TestFirst(t *testing.T) {
	var backup bytes.Buffer
	h := record.Header{Log: newIdentity().ID, Created: time.Unix(1, 0), At: time.Unix(2, 0)}
	if err := record.WriteState(&backup, h, func(func(rollcall.Change) bool) {}); err != nil {
		t.Fatal(err)
	}
	restored := t.TempDir()
	if err := Restore(restored, &backup, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{t.TempDir(), restored} {
		for n := range 3 {
			l, err := Open(dir, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := l.Status().First; got != (n == 0) {
				t.Errorf("opening %d of %s: first is %v", n+1, dir, got)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
