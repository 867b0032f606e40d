package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

// connection holds the flags of verbs that talk to a server.
type connection struct {
	e         *env
	addr      string
	namespace string
}

func (c *connection) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.addr, "addr", client.DefaultAddress, "`ADDRESS` of the server, or several with commas; grpc://HOST or port 7071 is gRPC, others HTTP (ROLLCALL_ADDR)")
}

// inNamespace adds --namespace; absent says what its absence means.
func (c *connection) inNamespace(cmd *cobra.Command, absent string) {
	cmd.Flags().StringVarP(&c.namespace, "namespace", "n", "", "`NAME` of the namespace (ROLLCALL_NAMESPACE); without, "+absent)
}

// dial returns a client; the caller closes it.
func (c *connection) dial(opts ...client.Option) (*client.Client, error) {
	opts = append([]client.Option{
		client.WithToken(c.e.getenv("ROLLCALL_TOKEN")),
		client.WithLogger(slog.New(&notes{e: c.e})),
	}, opts...)
	cl, err := client.Dial(c.addr, opts...)
	if err != nil {
		return nil, usagef("--addr or ROLLCALL_ADDR: %v", err)
	}
	return cl, nil
}

// with calls f with a client.
func (c *connection) with(f func(*client.Client) error) error {
	cl, err := c.dial()
	if err != nil {
		return err
	}
	defer cl.Close()
	return f(cl)
}

// key returns the key of an instance in the namespace that was chosen.
func (c *connection) key(service, id string) rollcall.Key {
	return rollcall.NewKey(c.namespace, service, id)
}

// completeService offers the names of services to a shell.
func (c *connection) completeService(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	fromEnv(cmd.Flags(), c.e.getenv, "addr", "namespace")
	cl, err := c.dial(client.WithTimeout(time.Second))
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer cl.Close()
	var names []string
	for s, err := range cl.Services(cmd.Context(), c.namespace) {
		if err != nil {
			break
		}
		if strings.HasPrefix(s.Service, prefix) {
			names = append(names, s.Service)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// notes is a [slog.Handler] that shows what the client tells of its background
// work as lines of the command's own.
type notes struct {
	e    *env
	with []slog.Attr
}

func (n *notes) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (n *notes) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	show := func(a slog.Attr) bool {
		text += fmt.Sprintf("; %s: %v", a.Key, a.Value)
		return true
	}
	for _, a := range n.with {
		show(a)
	}
	r.Attrs(show)
	fmt.Fprintf(n.e.err, "rollcall: %s\n", table.Clean(text))
	return nil
}

func (n *notes) WithAttrs(as []slog.Attr) slog.Handler {
	return &notes{n.e, append(slices.Clip(n.with), as...)}
}

func (n *notes) WithGroup(string) slog.Handler { return n }

// interruptible returns a context that ends with the first interrupt; the
// second then ends the process.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// fromEnv sets flags that the command line does not from their variables:
// ROLLCALL_DATA_DIR for --data-dir. Names that are not flags here are passed
// over; without names, all flags are meant.
func fromEnv(flags *pflag.FlagSet, getenv func(string) string, names ...string) (err error) {
	set := func(f *pflag.Flag) {
		name := variable(f.Name)
		value := getenv(name)
		if f.Changed || value == "" || err != nil {
			return
		}
		if e := flags.Set(f.Name, value); e != nil {
			err = usagef("%s=%q: %v", name, value, e)
		}
	}
	if len(names) == 0 {
		flags.VisitAll(set)
	}
	for _, name := range names {
		if f := flags.Lookup(name); f != nil {
			set(f)
		}
	}
	return err
}

// variable returns the name of the environment variable behind a flag.
func variable(flag string) string {
	return "ROLLCALL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
