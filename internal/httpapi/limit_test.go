//go:build unix

package httpapi_test

import (
	"syscall"
	"testing"
)

// connections is how many connections the tests of many of them open: both
// ends are in one process.
func connections() int {
	var files syscall.Rlimit
	if testing.Short() || raceEnabled || syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files) != nil {
		return 200
	}
	return min(9_000, (int(min(files.Cur, 1<<20))-500)/2)
}
