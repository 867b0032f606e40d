package load

import (
	"testing"
	"unsafe"
)

// TestInstanceSize: there may be a million that move.
func TestInstanceSize(t *testing.T) {
	if size := unsafe.Sizeof(Instance{}); size > 208 {
		t.Errorf("an instance takes %d bytes, want 208 at most", size)
	}
}
