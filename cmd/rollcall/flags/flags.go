// Package flags reads what several verbs of the command line take: what an instance
// is, which instances are wanted, when. Its types hold flags that are read once
// the command line was parsed.
package flags

import (
	"fmt"
	"io"
	"os"
)

// Error is a mistake in the command line.
type Error struct{ text string }

// Error implements error.
func (e Error) Error() string { return e.text }

// Errorf returns an [Error].
func Errorf(format string, args ...any) error { return Error{fmt.Sprintf(format, args...)} }

// readFile reads a file, or in if its name is "-".
func readFile(in io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(in)
	}
	return os.ReadFile(name)
}
