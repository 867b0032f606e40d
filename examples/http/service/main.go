// Command service is an HTTP service that registers itself, tells how busy it is, and
// leaves without a request that fails. It listens on a free port of the loopback
// interface; the registry is at ROLLCALL_ADDR.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/client/meter"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	load := meter.New(meter.Options{Capacity: 100})
	srv := &http.Server{Handler: load.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "hello from %s\n", l.Addr())
	}))}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()

	c, err := client.Dial(os.Getenv("ROLLCALL_ADDR"))
	if err != nil {
		return err
	}
	defer c.Close()
	// Keep does not wait: the service starts also while the registry is away.
	reg, err := c.Keep(rollcall.Instance{
		Service: "hello",
		Address: "127.0.0.1",
		Ports:   map[string]uint16{"http": uint16(l.Addr().(*net.TCPAddr).Port)},
		Warmup:  rollcall.Duration(5 * time.Second),
	}, client.WithLoad(load.Load), client.WithGrace(10*time.Second), client.WithNotify(func(n client.Notice) {
		log.Print(n.Kind, " ", n.Instance.ID)
	}))
	if err != nil {
		return err
	}
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// First out of the registry, which takes until its callers know, then off the
	// network, once what they have sent is answered.
	ending, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	if err := reg.Close(ending); err != nil {
		log.Print(err) // its lease lapses by itself
	}
	return srv.Shutdown(ending)
}
