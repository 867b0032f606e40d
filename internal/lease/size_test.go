package lease

import (
	"testing"
	"unsafe"
)

// TestEntrySize: there may be a million leases.
func TestEntrySize(t *testing.T) {
	if size := unsafe.Sizeof(entry{}); size > 64 {
		t.Errorf("a lease takes %d bytes, want 64 at most", size)
	}
}
