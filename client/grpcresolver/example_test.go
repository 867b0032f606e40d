package grpcresolver_test

import (
	"context"
	"fmt"
	"log"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/client/grpcresolver"
)

// Calls go to an instance of the service payments, each to the one that is picked.
func Example() {
	c, err := client.Dial("127.0.0.1:7070")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	conn, err := grpc.NewClient("rollcall:///payments",
		grpcresolver.DialOption(c, grpcresolver.Idempotent("grpc.health.v1.Health")),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	reply, err := healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{})
	fmt.Println(reply.GetStatus(), err)
}
