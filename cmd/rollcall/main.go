// Command rollcall is the Rollcall service registry: the server, and a command
// line for everything its API offers.
//
// Each verb is a file of this package. All of them but serve, restore and
// version talk to a running server through package client.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rollcall-registry/rollcall/cmd/rollcall/flags"
)

// version is set by the linker (-X main.version=v1.2.3); see build for where it
// is not.
var version string

// env is what a verb may know of the world around it.
type env struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
}

func main() {
	e := &env{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv}
	os.Exit(e.run(context.Background(), os.Args[1:]))
}

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// run runs one command line and returns the status to exit with.
func (e *env) run(ctx context.Context, args []string) int {
	root := newRoot(e)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	fmt.Fprintf(e.err, "rollcall: %s\n", advice(err))
	if _, ok := errors.AsType[flags.Error](err); ok {
		return exitUsage
	}
	return exitFailed
}

// exitStatus is an error that has been dealt with, but for the status.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }
