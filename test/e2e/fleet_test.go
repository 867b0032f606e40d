//go:build e2e

package e2e

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/test/process"
)

// ordersVariable makes this test's binary a fleet: it holds orders, as JSON.
const ordersVariable = "ROLLCALL_E2E_ORDERS"

// orders say what a process of instances is to be.
type orders struct {
	As       string // "instance" or "caller": see serve and call; "" is a fleet
	Registry string // its address
	Listen   string // the address of all of its instances; "" is 127.0.0.1 and any port
	Claim    string // the address that they say they have instead, if they lie
	Service  string
	Name     string // what its instances' ids begin with
	// Clients are how many connections to the registry it has, Each how many
	// instances one of them keeps. Without clients it only listens.
	Clients, Each int
	Lease         rollcall.Lease
	Protocol      string // in which callers call an instance: "http", if empty, or "grpc"
	// Of a caller: requests a second, whether those of gRPC may be carried out twice,
	// and where it keeps its views, if it does.
	Rate       int
	Idempotent bool
	Cache      string
}

// obey is the main function of a fleet: a program that listens, registers its
// instances, says so, and then does what it is told, a word a line, until its
// standard input ends.
func obey(text string) error {
	var o orders
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	switch o.As {
	case "instance":
		return o.serve()
	case "caller":
		return o.call()
	}
	l, err := net.Listen("tcp", cmp.Or(o.Listen, "127.0.0.1:0"))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, o.Name) })}
	go server.Serve(l) // ends with the process
	members, err := o.register(cmp.Or(o.Claim, l.Addr().String()))
	if err != nil {
		return err
	}
	fmt.Println("ready", os.Getpid(), l.Addr())
	ctx := context.Background()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		verb, rest, _ := strings.Cut(in.Text(), " ")
		answer := "done"
		switch verb {
		case "update":
			err = forEach(members, func(r *client.Registration) error {
				i := r.Instance()
				i.Metadata = map[string]string{"note": rest}
				return r.Update(ctx, i)
			})
		case "count":
			kept := 0
			for _, r := range members {
				if r.Err() == nil {
					kept++
				}
			}
			answer = strconv.Itoa(kept)
		case "close":
			err = forEach(members, func(r *client.Registration) error { return r.Close(ctx) })
		case "leave": // in order: nobody calls it any more, then it finishes what it is doing
			err = errors.Join(
				forEach(members, func(r *client.Registration) error { return r.Drain(ctx, time.Minute) }),
				server.Shutdown(ctx),
				forEach(members, func(r *client.Registration) error { return r.Close(ctx) }),
			)
		}
		if err != nil {
			answer = "failed: " + strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		fmt.Println(answer)
	}
	return nil
}

// register registers what a fleet is to keep.
func (o *orders) register(addr string) ([]*client.Registration, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	lease := o.Lease
	if lease.Mode == "" {
		lease.Mode = rollcall.LeaseTTL
	}
	members := make([]*client.Registration, o.Clients*o.Each)
	var c *client.Client
	var g errgroup.Group
	g.SetLimit(64)
	for n := range members {
		id := o.Name
		if len(members) > 1 {
			id += "-" + strconv.Itoa(n)
		}
		if n%o.Each == 0 {
			var err error
			if c, err = client.Dial(o.Registry); err != nil {
				return nil, err
			}
		}
		with := c
		g.Go(func() (err error) {
			members[n], err = with.Register(context.Background(), rollcall.Instance{
				Service: o.Service, ID: id, Address: at.Addr().String(), Ports: map[string]uint16{"http": at.Port()}, Lease: lease,
			}, client.WithGrace(0))
			return err
		})
	}
	return members, g.Wait()
}

// forEach does something to all members of a fleet at once.
func forEach(members []*client.Registration, do func(*client.Registration) error) error {
	var g errgroup.Group
	for _, r := range members {
		g.Go(func() error { return do(r) })
	}
	return g.Wait()
}

// fleet is a running process of instances.
type fleet struct {
	Addr string // where it listens
	cmd  *exec.Cmd
	pid  int // of the process that listens: cmd's, or what cmd runs
	in   io.WriteCloser
	out  *bufio.Reader
	once sync.Once // of strike: later its pids may be somebody else's
}

// launch starts a process of instances and returns once it has registered them.
// wrapper is a command to run it under, or nothing. The caller ends it.
func launch(o orders, wrapper ...string) (*fleet, error) {
	self, err := filepath.Abs(os.Args[0])
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	args := append(wrapper, self)
	f := &fleet{cmd: exec.Command(args[0], args[1:]...)}
	f.cmd.Env = append(os.Environ(), ordersVariable+"="+string(text), "ROLLCALL_ADDR="+o.Registry)
	f.cmd.Stderr = os.Stderr
	if f.in, err = f.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	f.out = bufio.NewReader(out)
	if err := f.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := f.out.ReadString('\n')
	if _, wrong := fmt.Sscanf(line, "ready %d %s", &f.pid, &f.Addr); err != nil || wrong != nil {
		f.kill()
		return nil, fmt.Errorf("%s said %q when it should be ready: %v", o.Name, line, err)
	}
	return f, nil
}

// launchAll starts processes of instances, which end with the test.
func launchAll(t *testing.T, os ...orders) []*fleet {
	t.Helper()
	fleets := make([]*fleet, len(os))
	t.Cleanup(func() {
		for _, f := range fleets {
			if f != nil {
				f.kill()
			}
		}
	})
	var g errgroup.Group
	for n, o := range os {
		g.Go(func() (err error) {
			fleets[n], err = launch(o)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return fleets
}

// order tells a fleet to do something and returns what it answers.
func (f *fleet) order(words string) (string, error) {
	if _, err := fmt.Fprintln(f.in, words); err != nil {
		return "", err
	}
	line, err := f.out.ReadString('\n')
	line = strings.TrimSuffix(line, "\n")
	if err == nil && strings.HasPrefix(line, "failed") {
		err = errors.New(line)
	}
	return line, err
}

// orderAll tells fleets to do something, all at once.
func orderAll(fleets []*fleet, words string) error {
	var g errgroup.Group
	for _, f := range fleets {
		g.Go(func() error {
			_, err := f.order(words)
			return err
		})
	}
	return g.Wait()
}

// strike sends SIGKILL to the process and all that it runs.
func (f *fleet) strike() {
	f.once.Do(func() {
		f.cmd.Process.Kill()
		if f.pid > 0 && f.pid != f.cmd.Process.Pid {
			syscall.Kill(f.pid, syscall.SIGKILL)
		}
	})
}

// kill strikes a fleet and waits until it is gone.
func (f *fleet) kill() {
	f.strike()
	f.in.Close()
	f.cmd.Wait() // fails the second time, and then has nothing to wait for
}

// rollcallPath returns the path of the binary.
func rollcallPath() string {
	path, err := filepath.Abs(*process.Binary)
	if err != nil {
		panic(err)
	}
	return path
}

// command runs a command of the binary against a server.
func command(addr string, args ...string) (string, error) {
	cmd := exec.Command(rollcallPath(), args...)
	cmd.Env = append(os.Environ(), "ROLLCALL_ADDR="+addr)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("rollcall %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}
