// Command caller calls the service greeter ten times a second, each time the instance
// that is picked. The registry is at ROLLCALL_ADDR.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/client/grpcresolver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := client.Dial(os.Getenv("ROLLCALL_ADDR"), client.WithCaller("example-caller"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	conn, err := grpc.NewClient("rollcall:///greeter",
		grpcresolver.DialOption(c, grpcresolver.Idempotent("grpc.health.v1.Health/Check")),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	health := healthpb.NewHealthClient(conn)

	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := call(ctx, health); err != nil {
				log.Print(err)
			}
		}
	}
}

func call(ctx context.Context, health healthpb.HealthClient) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var from peer.Peer
	reply, err := health.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Peer(&from))
	if err != nil {
		return err
	}
	fmt.Println(reply.Status, "from", from.Addr)
	return nil
}
