//go:build e2e

// Package e2e drives real processes: the binary as users run it, killed, cut
// off, out of disk. Run it with make e2e.
package e2e

import (
	"testing"

	"github.com/rollcall-registry/rollcall/test/process"
)

func TestMain(m *testing.M) { process.Main(m) }
