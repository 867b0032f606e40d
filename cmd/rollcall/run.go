package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/cmd/rollcall/flags"
)

// Exit statuses of run for commands that do not start, as shells have them.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

func newRun(e *env) *cobra.Command {
	conn := connection{e: e}
	var desc flags.Instance
	var service string
	var grace time.Duration
	cmd := &cobra.Command{
		Use:   "run --service SERVICE --port PORT -- COMMAND [ARGUMENT...]",
		Short: "Run a command as an instance of a service",
		Long: `Run starts a command, registers it as an instance while it runs, and
deregisters it when it ends. The command runs whether the registry is there or
not; it is registered as soon as it can be. Its lease is a session, unless --ttl
or --lease asks for heartbeats: should this process be killed, too, that shows at
once.

Signals are passed on. SIGTERM and SIGINT first drain the instance and wait for
the grace period, so that callers go elsewhere before the command hears of it; a
second one is passed on at once. The exit status is the command's, 128 and the
number of the signal if a signal ended it, 127 if it is not found and 126 if it
cannot be run.`,
		Example: `  rollcall run --service payments --port 8080 -- ./payments -listen :8080
  rollcall run --service web --port http=3000 --grace 5s --cap canary=true -- npm start`,
		Args: takes(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			inst, err := desc.Read(e.in, cmd.Flags())
			if err != nil {
				return err
			}
			var names []string
			if service != "" {
				names = []string{service}
			}
			if err := conn.name(cmd, &inst, names); err != nil {
				return err
			}
			// The command will run whatever the registry says later, so what
			// is wrong in any case is said before.
			if inst.ID == "" {
				inst.ID = client.NewID(inst.Service)
			}
			check := inst
			check.Normalize()
			if err := check.Validate(rollcall.Limits{Capabilities: 1e6, Metadata: 1e6, ValueBytes: 1e6, Ports: 1e6, Checks: 1e6}); err != nil {
				return usagef("%v", err)
			}
			return conn.with(func(c *client.Client) error {
				return e.runAs(cmd.Context(), c, inst, args, grace)
			})
		},
	}
	cmd.Flags().SetInterspersed(false)
	conn.flags(cmd)
	conn.inNamespace(cmd, "the default one")
	cmd.Flags().StringVarP(&service, "service", "s", "", "`NAME` of the service")
	desc.Add(cmd.Flags())
	cmd.Flags().DurationVar(&grace, "grace", client.DefaultGrace, "`DURATION` between draining and passing SIGTERM on; where callers use DNS, more than its time to live")
	return cmd
}

// runAs runs a command as an instance. Its error is the exit status, unless
// that is 0.
func (e *env) runAs(ctx context.Context, c *client.Client, inst rollcall.Instance, args []string, grace time.Duration) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, passedOn()...)
	defer signal.Stop(signals)

	child := exec.Command(args[0], args[1:]...)
	child.Stdin, child.Stdout, child.Stderr = e.in, e.out, e.err
	child.SysProcAttr = ownGroup()
	if err := child.Start(); err != nil {
		fmt.Fprintf(e.err, "rollcall: %v\n", err)
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			return exitStatus(exitNotFound)
		}
		return exitStatus(exitNotExecutable)
	}
	ended := make(chan struct{})
	go func() { // ends with the child, and runAs waits for that
		child.Wait() // its outcome is in ProcessState
		close(ended)
	}()

	flags.Keep(&inst)
	reg, err := c.Keep(inst, client.WithGrace(0))
	if err != nil {
		fmt.Fprintf(e.err, "rollcall: %s runs unregistered: %v\n", args[0], err)
	}
	e.passSignals(ctx, child.Process, reg, grace, signals, ended)
	if reg != nil {
		ctx, cancel := context.WithTimeout(ctx, partingTime)
		defer cancel()
		if err := reg.Close(ctx); err != nil {
			fmt.Fprintf(e.err, "rollcall: %s could not be deregistered, so its lease will lapse: %s\n", inst.Key(), advice(err))
		}
	}
	if status := statusOf(child.ProcessState); status != 0 {
		return exitStatus(status)
	}
	return nil
}

// passSignals passes signals on until the child has ended; those that ask it
// to end, after a drain.
func (e *env) passSignals(ctx context.Context, child *os.Process, reg *client.Registration, grace time.Duration, signals <-chan os.Signal, ended <-chan struct{}) {
	var drained chan struct{} // closed when the drain is over
	drain, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		if drained != nil {
			<-drained
		}
	}()
	var pending os.Signal // to be passed on after the drain
	for {
		over := drained
		if pending == nil {
			over = nil
		}
		select {
		case <-ended:
			return
		case <-over:
			child.Signal(pending) // an error means that it has just ended
			pending = nil
		case s := <-signals:
			switch {
			case !asksToEnd(s) || reg == nil || grace <= 0:
				child.Signal(s)
			case drained == nil:
				pending = s
				drained = make(chan struct{})
				go func() {
					defer close(drained)
					ctx, cancel := context.WithTimeout(drain, grace+partingTime)
					defer cancel()
					if err := reg.Drain(ctx, grace); err != nil && drain.Err() == nil {
						fmt.Fprintf(e.err, "rollcall: could not drain: %s\n", advice(err))
					}
				}()
			default: // a second one: whoever asks is done waiting
				pending = nil
				child.Signal(s)
			}
		}
	}
}
