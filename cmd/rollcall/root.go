package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/flags"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

// Groups of verbs in the help.
const (
	groupServer   = "server"
	groupRegister = "register"
	groupLook     = "look"
)

// newRoot returns the whole command tree.
func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:   "rollcall",
		Short: "A service registry: who runs where, and whom to call now",
		Long: `Rollcall is a service registry. Instances of services tell it where they are,
what they can do and how they are; callers ask it which instance to use now.

Start a server, register something and look it up:

  rollcall serve
  rollcall register payments --port 8080
  rollcall resolve payments

Verbs other than serve, demo, restore, version and completion talk to the server at
ROLLCALL_ADDR (or --addr), 127.0.0.1:7070 by default, with the token in
ROLLCALL_TOKEN if there is one. They speak HTTP to it, or gRPC if the address is
grpc://HOST:PORT, grpcs:// for TLS, or has port 7071. The exit status is 0 if all went well, 1 if
something failed and 2 if the command line is at fault.`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				cmd.SetOut(e.err)
				cmd.Help()
				return exitStatus(exitUsage)
			}
			hint := `see "rollcall --help"`
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = fmt.Sprintf("did you mean %q?", near[0])
			}
			return usagef("%q is not a verb; %s", args[0], hint)
		},
		PersistentPreRunE: func(cmd *cobra.Command, args []string) error {
			if err := fromEnv(cmd.Flags(), e.getenv, "output", "addr", "namespace"); err != nil {
				return err
			}
			_, err := format(cmd)
			return err
		},
	}
	root.Version = versionText()
	root.SetVersionTemplate("{{.Version}}\n")
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%v; see \"%s --help\"", err, cmd.CommandPath())
	})
	root.PersistentFlags().StringP("output", "o", "table", "print a `FORM` to read or to process: table or json")
	root.AddGroup(
		&cobra.Group{ID: groupServer, Title: "Serve:"},
		&cobra.Group{ID: groupRegister, Title: "Register:"},
		&cobra.Group{ID: groupLook, Title: "Look:"},
	)
	for group, verbs := range map[string][]*cobra.Command{
		groupServer:   {newServe(e), newStatus(e), newBackup(e), newRestore(e), newBench(e), newDemo(e), newDemoInstance(e)},
		groupRegister: {newRegister(e), newRun(e), newDrain(e), newDeregister(e)},
		groupLook:     {newServices(e), newInstances(e), newResolve(e), newWatch(e), newWatchers(e), newWhy(e), newEvents(e), newGuards(e), newQuery(e)},
		"":            {newVersion(e), newCompletion(e)},
	} {
		for _, v := range verbs {
			v.GroupID = group
			v.DisableFlagsInUseLine = true
			root.AddCommand(v)
		}
	}
	return root
}

// usagef returns a mistake in the command line.
func usagef(format string, args ...any) error { return flags.Errorf(format, args...) }

// takes returns a validator of the number of arguments; most below 0 is no
// bound.
func takes(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most >= 0 && len(args) > most {
			return usagef("usage: %s; see \"%s --help\"", cmd.UseLine(), cmd.CommandPath())
		}
		return nil
	}
}

// advice returns an error's text with what to do next, where the error itself
// does not say.
func advice(err error) string {
	text := err.Error()
	e, ok := errors.AsType[*rollcall.Error](err)
	if ok && err == error(e) && errors.Is(e, rollcall.ErrNotFound) && e.Detail != "" {
		text = e.Detail // which says what is not found; the field is the caller's affair
	}
	next := ""
	switch {
	case errors.Is(err, rollcall.ErrUnauthenticated):
		next = "put a token into ROLLCALL_TOKEN"
	case errors.Is(err, rollcall.ErrForbidden) && !(ok && e.Field == "Host"):
		next = "use a token in ROLLCALL_TOKEN that allows it"
	case errors.Is(err, rollcall.ErrTooMany) && ok && e.RetryAfter > 0:
		next = "try again in " + table.Humane(e.RetryAfter)
	case errors.Is(err, rollcall.ErrNotSynced), errors.Is(err, rollcall.ErrSettling), errors.Is(err, rollcall.ErrTooMany):
		next = "try again in a moment"
	case errors.Is(err, rollcall.ErrUnavailable):
		next = `"rollcall status" shows why`
	}
	if next == "" || strings.Contains(text, next) {
		return text
	}
	return text + "; " + next
}
