//go:build e2e

// Package e2e drives real processes: the binary as users run it, killed, cut
// off, out of disk. Run it with make e2e.
package e2e

import (
	"fmt"
	"os"
	"testing"

	"github.com/rollcall-registry/rollcall/test/process"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(ordersVariable); text != "" {
		if err := obey(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	process.Main(m)
}
