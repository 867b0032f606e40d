package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/flags"
	"github.com/rollcall-registry/rollcall/internal/demo"
	"github.com/rollcall-registry/rollcall/internal/server"
)

func newDemo(e *env) *cobra.Command {
	d := demo.Demo{}
	var addr string
	var quiet, asJSON bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a registry with a fleet that comes, goes, slows down and crashes",
		Long: `Demo starts a registry with its data in a temporary directory, and a fleet of
some twenty processes in three zones: HTTP servers that register, report how busy
they are and, in the case of drivers, move. Callers in each zone send them some
hundred requests a second, to whom the registry's answers name: a watch near their
zone, a pick for each request, the nearest driver that fits.

Then things happen, and a line for each says how long it took until all who call
knew: an instance is killed with -9, one is drained, two are added, the nearest
driver is asked for, a service is gone for which another stands in, one instance
fails, one becomes slow, a zone loses half of its instances. A table of what was
measured beside what is promised ends it. The addresses at the beginning show the
same from outside: look at them meanwhile, or ask as any other server.

On a terminal it goes on until it is interrupted; else it ends after the last
happening; with --duration it ends after that. The exit status is 1 if something
was not as promised, such as a request that failed because of a drain.`,
		Example: `  rollcall demo
  rollcall demo --duration 2m --http 127.0.0.1:8070
  rollcall demo --quiet
  rollcall demo --json | jq -r .text`,
		Args: takes(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if d.Duration < 0 {
				return usagef("--duration %v: it must be more than 0", d.Duration)
			}
			form, _ := format(cmd)
			asJSON = asJSON || form
			d.Stay = d.Duration == 0 && !quiet && !asJSON && onTerminal(e.out)
			return e.demo(cmd.Context(), d, addr, quiet, asJSON)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&d.Duration, "duration", 0, "end after a `DURATION`, whatever was shown by then")
	f.StringVar(&addr, "http", "", "`ADDRESS` to serve HTTP at; without, "+client.DefaultAddress+" or, if that is taken, any free port")
	f.BoolVarP(&quiet, "quiet", "q", false, "print the table at the end and nothing else")
	f.BoolVar(&asJSON, "json", false, "print a JSON object a line for each happening, and one for the summary (as --output json)")
	return cmd
}

// newDemoInstance is what demo runs as its fleet.
func newDemoInstance(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "demo-instance",
		Hidden:  true,
		Short:   "Be a part of the fleet of demo",
		Example: "  rollcall demo-instance < orders.json",
		Args:    takes(0, 0),
		RunE: func(cmd *cobra.Command, args []string) error {
			// An interrupt is typed for the demo, which ends its processes itself.
			signal.Ignore(os.Interrupt)
			return demo.Serve(cmd.Context(), e.in, e.out)
		},
	}
}

// demo serves a registry and shows a demo on it.
func (e *env) demo(ctx context.Context, d demo.Demo, addr string, quiet, asJSON bool) (err error) {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	d.Program = []string{program, "demo-instance"}
	dir, err := os.MkdirTemp("", "rollcall-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := demoServer(filepath.Join(dir, "data"), addr)
	if err != nil {
		return err
	}
	d.Registry = s.Addr()
	screen := &screen{e: e, dns: s.DNSAddr(), quiet: quiet, asJSON: asJSON, colour: onTerminal(e.out) && e.getenv("NO_COLOR") == ""}
	d.Tell = screen.tell

	ctx, stop := interruptible(ctx)
	defer stop()
	// The registry outlasts the fleet, which says goodbye to it.
	serving, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	var sum demo.Summary
	ready := make(chan struct{})
	g, failed := errgroup.WithContext(serving)
	g.Go(func() error { return s.Run(serving, func() { close(ready) }) })
	g.Go(func() (err error) {
		defer end()
		select {
		case <-ready:
		case <-failed.Done():
			return nil
		}
		screen.open(&d)
		sum, err = d.Run(ctx)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err := screen.close(&sum); err != nil {
		return err
	}
	if !sum.Kept {
		return exitStatus(exitFailed)
	}
	return nil
}

// demoServer makes a server at an address, or at the default one if that is free; and
// so for DNS.
func demoServer(dir, addr string) (s *server.Server, err error) {
	c := server.Config{DataDir: dir, HTTP: addr, Version: build().Version}
	at := []string{addr}
	if addr == "" {
		at = []string{client.DefaultAddress, "127.0.0.1:0"}
	}
	for _, c.HTTP = range at {
		for _, c.DNS = range []string{flags.DefaultDNS, "127.0.0.1:0"} {
			if s, err = newServer(c); !errors.Is(err, syscall.EADDRINUSE) {
				return s, err
			}
		}
	}
	return s, err
}

// screen prints a demo.
type screen struct {
	e                     *env
	dns                   string // its address
	quiet, asJSON, colour bool
}

// open says where to look.
func (s *screen) open(d *demo.Demo) {
	look := demo.Look("http://" + d.Registry)
	switch {
	case s.asJSON:
		urls := make([]string, len(look))
		for n := range look {
			urls[n] = look[n][0]
		}
		s.e.line(struct {
			Type string   `json:"type"`
			HTTP string   `json:"http"`
			Look []string `json:"look"`
		}{"ready", d.Registry, urls})
		return
	case s.quiet:
		return
	}
	fmt.Fprintf(s.e.out, "A registry serves http://%s; its fleet is starting. Look at:\n", d.Registry)
	for _, l := range look {
		fmt.Fprintf(s.e.out, "  %s\n      %s\n", l[0], l[1])
	}
	env := ""
	if _, port, _ := net.SplitHostPort(d.Registry); d.Registry != client.DefaultAddress {
		env = "ROLLCALL_ADDR=127.0.0.1:" + port + " "
	}
	host, port, _ := net.SplitHostPort(s.dns)
	fmt.Fprintf(s.e.out, "or type:\n  %[1]srollcall watch pricing\n  %[1]srollcall why pricing\n  %[1]srollcall resolve pricing --near zone:eu/eu-1\n  dig @%s -p %s pricing.service.rollcall SRV\n\n", env, host, port)
}

func (s *screen) tell(h demo.Happening) {
	switch {
	case s.asJSON:
		s.e.line(h)
		return
	case s.quiet:
		return
	}
	at := time.Duration(h.AtMS * float64(time.Millisecond)).Seconds()
	fmt.Fprintf(s.e.out, "%6.1f s  %s  %s\n", at, s.paint(bold, fmt.Sprintf("%-8s", h.Act)), h.Text)
	for _, b := range h.Broken {
		fmt.Fprintf(s.e.out, "          %s\n", s.paint(red, "not as promised: "+b))
	}
}

// close prints the summary.
func (s *screen) close(sum *demo.Summary) error {
	if s.asJSON {
		return s.e.line(sum)
	}
	if !s.quiet {
		fmt.Fprintln(s.e.out)
	}
	t := s.e.table("ACT", "WHAT", "MEASURED", "PROMISED", "")
	for _, a := range sum.Figures {
		for n := range a.Figures {
			f := &a.Figures[n]
			promised, verdict := f.Verdict()
			t.Row(a.Act, f.Name, f.Measured(), promised, verdict)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(s.e.out, "\n%d requests in %.0f s to %d processes: %d were made again elsewhere, %d lost.\n",
		sum.Requests, sum.DurationMS/1000, sum.Processes, sum.Retried, sum.Failed)
	if len(sum.Left) > 0 {
		fmt.Fprintf(s.e.out, "There was no time for: %s.\n", strings.Join(sum.Left, ", "))
	}
	if sum.Kept {
		_, err := io.WriteString(s.e.out, s.paint(green, "All was as promised.")+"\n")
		return err
	}
	for _, b := range sum.Broken {
		fmt.Fprintln(s.e.out, s.paint(red, "Not as promised: "+b))
	}
	return nil
}

// Colours of a terminal.
const (
	bold  = "1"
	red   = "31"
	green = "32"
)

func (s *screen) paint(colour, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}
