//go:build e2e

package compat

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/rollcall-registry/rollcall/test/process"
)

// TestGRPCNames has gRPC's own resolver find a service. It does not poll: it asks again
// when a connection breaks, so one that comes is found when another goes.
func TestGRPCNames(t *testing.T) {
	t.Parallel()
	p := process.Serve(t, t.TempDir())
	f := &fleet{addrs: loopback(3)}
	var servers []*grpc.Server
	var serving sync.WaitGroup
	t.Cleanup(func() {
		for _, s := range servers {
			s.Stop()
		}
		serving.Wait()
	})
	for _, a := range f.addrs {
		l, err := net.Listen("tcp", net.JoinHostPort(a.String(), fmt.Sprint(f.port)))
		if err != nil {
			t.Fatal(err)
		}
		f.port = uint16(l.Addr().(*net.TCPAddr).Port)
		s := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(s, health.NewServer())
		servers = append(servers, s)
		serving.Go(func() { s.Serve(l) })
	}
	f.scale(t, p, "web", 0, 2)
	conn, err := grpc.NewClient(fmt.Sprintf("dns://%s/web.service.rollcall:%d", p.DNS, f.port), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reaches := func(want []string) {
		t.Helper()
		process.Eventually(t, 4*soon, func() error { // it asks at most every 30 s
			var who []string
			for range 6 {
				var from peer.Peer
				if _, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}, grpc.Peer(&from)); err != nil {
					return err
				}
				host, _, _ := net.SplitHostPort(from.Addr.String())
				who = append(who, host)
			}
			slices.Sort(who)
			if who = slices.Compact(who); !slices.Equal(who, want) {
				return fmt.Errorf("%q answer, want %q", who, want)
			}
			return nil
		})
	}
	reaches([]string{"127.0.1.1", "127.0.1.2"})
	f.scale(t, p, "web", 1, 3)
	servers[0].Stop()
	reaches([]string{"127.0.1.2", "127.0.1.3"})
}
