package client_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/internal/server"
)

// serve runs a registry that knows one instance of payments.
func serve() (addr string, stop func()) {
	dir, err := os.MkdirTemp("", "rollcall")
	if err != nil {
		panic(err)
	}
	srv, err := server.New(server.Config{DataDir: dir})
	if err != nil {
		panic(err)
	}
	ctx, end := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		srv.Run(ctx, func() { close(ready) })
	}()
	<-ready
	c, err := client.Dial(srv.Addr())
	if err != nil {
		panic(err)
	}
	defer c.Close()
	if _, err := c.Put(ctx, rollcall.Instance{
		Service: "payments", ID: "p-1", Address: "10.0.3.17", Ports: map[string]uint16{"http": 8080}, Lease: rollcall.Lease{Mode: rollcall.LeaseNone},
	}); err != nil {
		panic(err)
	}
	return srv.Addr(), func() {
		end()
		<-done
		os.RemoveAll(dir)
	}
}

// Each request asks anew which instance is its. Only the first pick of a service waits
// for the registry.
func ExampleClient_Pick() {
	addr, stop := serve()
	defer stop()
	c, err := client.Dial(addr)
	if err != nil {
		panic(err)
	}
	defer c.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	pick, done, err := c.Pick(ctx, "payments")
	if err != nil {
		fmt.Println(err)
		return
	}
	to, err := pick.Address("http")
	fmt.Println(to, err)
	done(nil) // or the error, if the request failed and the instance is to blame
	// Output: 10.0.3.17:8080 <nil>
}

// A view stays as it is; who wants to know waits for the next one.
func ExampleClient_Subscribe() {
	addr, stop := serve()
	defer stop()
	c, err := client.Dial(addr)
	if err != nil {
		panic(err)
	}
	defer c.Close()

	s, err := c.Subscribe(rollcall.Query{Service: "payments"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	view, err := s.Ready(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(view.Len(), view.Instances()[0].ID)

	if err := c.Deregister(ctx, view.Instances()[0].Key()); err != nil {
		fmt.Println(err)
		return
	}
	<-s.Changed(view)
	fmt.Println(s.View().Len(), view.Len())
	// Output:
	// 1 p-1
	// 0 1
}

// The lease is kept from the background for as long as the registration is open. Close
// takes the traffic away first, and says goodbye once all who call it know.
func ExampleClient_Register() {
	addr, stop := serve()
	defer stop()
	c, err := client.Dial(addr)
	if err != nil {
		panic(err)
	}
	defer c.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	reg, err := c.Register(ctx, rollcall.Instance{Service: "mail", ID: "m-1", Ports: map[string]uint16{"smtp": 25}})
	if err != nil {
		fmt.Println(err)
		return
	}
	i := reg.Instance()
	fmt.Println(i.Address, i.Lease.Mode, i.Health.Status)
	fmt.Println(reg.Close(ctx))
	// Output:
	// 127.0.0.1 session healthy
	// <nil>
}

// A watch tells what there is and then what changes, through restarts of the registry,
// until it is left or its context ends.
func ExampleClient_Watch() {
	addr, stop := serve()
	defer stop()
	c, err := client.Dial(addr)
	if err != nil {
		panic(err)
	}
	defer c.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for ev, err := range c.Watch(ctx, rollcall.Query{Service: "payments"}) {
		switch {
		case err != nil:
			fmt.Println(err)
		case ev.Type == client.EventSnapshot:
			fmt.Println(ev.Type, len(ev.Instances))
			if err := c.Deregister(ctx, ev.Instances[0].Key()); err != nil {
				fmt.Println(err)
				return
			}
		case ev.Type == client.EventRemove:
			fmt.Println(ev.Type, ev.ID, ev.Reason)
			return
		}
	}
	// Output:
	// snapshot 1
	// remove p-1 deregistered
}
