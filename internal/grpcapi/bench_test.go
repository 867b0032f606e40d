package grpcapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/grpcapi"
	"github.com/rollcall-registry/rollcall/internal/registry"
	"github.com/rollcall-registry/rollcall/internal/store/local"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

// bytesCodec sends bytes that are encoded already, and takes answers as they are.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b := v.(*[]byte)
	*b = append((*b)[:0], data.Materialize()...)
	return nil
}

// serve serves a registry on a log for the length of a benchmark.
func serve(b testing.TB, log registry.Log) (addr string) {
	b.Helper()
	r := registry.New(registry.Options{Log: log, Logger: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { r.Run(ctx) })
	if err := r.WaitSynced(ctx); err != nil {
		b.Fatal(err)
	}
	r.Serving()
	s := grpcapi.New(r, grpcapi.Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	all.Go(func() { s.Serve(l) })
	b.Cleanup(func() {
		s.End()
		r.EndStreams()
		within, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		s.Shutdown(within)
		stop()
		all.Wait()
	})
	return l.Addr().String()
}

func onDisk(b testing.TB) registry.Log {
	b.Helper()
	l, err := local.Open(b.TempDir(), local.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return l
}

func connect(b testing.TB, addr string, codec bool) *grpc.ClientConn {
	b.Helper()
	o := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if codec {
		o = append(o, grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})))
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, o...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}

func marshal(b testing.TB, m proto.Message) []byte {
	b.Helper()
	data, err := proto.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	return data
}

// fleet registers n instances of services of a hundred.
func fleet(b testing.TB, conn *grpc.ClientConn, n int) {
	b.Helper()
	for at := 0; at < n; {
		m := &pb.RegisterRequest{}
		for ; at < n && len(m.Instances) < 1000; at++ {
			m.Instances = append(m.Instances, fleetInstance(at))
		}
		if err := conn.Invoke(b.Context(), pb.Registry_Register_FullMethodName, marshal(b, m), new([]byte)); err != nil {
			b.Fatal(err)
		}
	}
}

func fleetInstance(n int) *pb.Instance {
	return &pb.Instance{
		Service: fmt.Sprintf("service-%d", n/100), Id: fmt.Sprintf("i-%d", n), Address: fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255),
		Ports: []*pb.Port{{Name: "http", Port: 8080}}, Version: "2.4.1", Node: fmt.Sprintf("host-%d", n%500), Region: "eu-west", Zone: "eu-west-1a",
		Metadata: []*pb.Pair{{Name: "team", Value: "checkout"}}, Lease: &pb.Lease{Ttl: int64(time.Hour)},
	}
}

// BenchmarkRenew renews leases over 64 streams on four connections, with one or a
// thousand in a message; ns/op is for one lease.
func BenchmarkRenew(b *testing.B) {
	const leases, streams = 20_000, 64
	for _, batch := range []int{1, 1000} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) {
			addr := serve(b, memory.New())
			conns := make([]*grpc.ClientConn, 4)
			for n := range conns {
				conns[n] = connect(b, addr, true)
			}
			fleet(b, conns[0], leases)
			var messages [][]byte
			for at := 0; at < leases; {
				m := &pb.RenewRequest{}
				for ; len(m.Renewals) < batch; at++ {
					m.Renewals = append(m.Renewals, &pb.Renewal{Service: fmt.Sprintf("service-%d", at/100), Id: fmt.Sprintf("i-%d", at)})
				}
				messages = append(messages, marshal(b, m))
			}
			var done atomic.Int64
			var all sync.WaitGroup
			b.ResetTimer()
			for n := range streams {
				stream, err := conns[n%len(conns)].NewStream(b.Context(), &pb.Registry_ServiceDesc.Streams[0], pb.Registry_Renew_FullMethodName)
				if err != nil {
					b.Fatal(err)
				}
				window := make(chan struct{}, 32) // so many are on their way at once
				all.Go(func() {
					defer close(window)
					defer stream.CloseSend()
					for at := n; done.Add(int64(batch)) <= int64(b.N+batch-1); at += streams {
						window <- struct{}{}
						if err := stream.SendMsg(messages[at%len(messages)]); err != nil {
							b.Error(err)
							return
						}
					}
				})
				all.Go(func() {
					var answer []byte
					for range window {
						if err := stream.RecvMsg(&answer); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// BenchmarkRegister registers new instances, a thousand in a message, from two
// clients at once; ns/op is for one.
func BenchmarkRegister(b *testing.B) {
	for _, log := range []string{"memory", "local"} {
		b.Run(log, func(b *testing.B) {
			var addr string
			if log == "memory" {
				addr = serve(b, memory.New())
			} else {
				addr = serve(b, onDisk(b))
			}
			const batch, clients = 1000, 4
			conn := connect(b, addr, true)
			var messages [][]byte
			for at := 0; at < b.N; {
				m := &pb.RegisterRequest{}
				for ; at < b.N && len(m.Instances) < batch; at++ {
					m.Instances = append(m.Instances, fleetInstance(at))
				}
				messages = append(messages, marshal(b, m))
			}
			runtime.GC()
			var next atomic.Int64
			var all sync.WaitGroup
			b.ResetTimer()
			for range clients {
				all.Go(func() {
					var answer []byte
					for {
						n := int(next.Add(1)) - 1
						if n >= len(messages) {
							return
						}
						if err := conn.Invoke(b.Context(), pb.Registry_Register_FullMethodName, messages[n], &answer); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
		})
	}
}

// BenchmarkWatchFanout changes one instance of a service that a thousand
// subscriptions watch, on ten streams of ten connections each; ns/op is for a
// change that all were told of.
func BenchmarkWatchFanout(b *testing.B) {
	const connections, streams, subscriptions = 10, 10, 10
	addr := serve(b, memory.New())
	conn := connect(b, addr, true)
	fleet(b, conn, 100)
	told := make(chan struct{}, connections*streams*subscriptions)
	for range connections {
		conn := connect(b, addr, true)
		for range streams {
			stream, err := conn.NewStream(b.Context(), &pb.Registry_ServiceDesc.Streams[2], pb.Registry_Watch_FullMethodName)
			if err != nil {
				b.Fatal(err)
			}
			for n := range subscriptions {
				m := &pb.WatchRequest{Say: &pb.WatchRequest_Subscribe{Subscribe: &pb.Subscribe{Subscription: uint64(n + 1), Query: &pb.Query{Service: "service-0"}}}}
				if err := stream.SendMsg(marshal(b, m)); err != nil {
					b.Fatal(err)
				}
			}
			go func() {
				var m []byte
				for stream.RecvMsg(&m) == nil {
					_, _, n := protowire.ConsumeField(m)
					if num, _, _ := protowire.ConsumeTag(m[n:]); num != 5 {
						told <- struct{}{}
					}
				}
			}()
		}
	}
	all := func() {
		for range cap(told) {
			<-told
		}
	}
	all()
	b.ResetTimer()
	for n := range b.N {
		i := fleetInstance(7)
		i.Version = fmt.Sprint(n)
		if err := conn.Invoke(b.Context(), pb.Registry_Register_FullMethodName, marshal(b, &pb.RegisterRequest{Instances: []*pb.Instance{i}}), new([]byte)); err != nil {
			b.Fatal(err)
		}
		all()
	}
	b.ReportMetric(float64(b.N)*connections*streams*subscriptions/b.Elapsed().Seconds(), "records/s")
}
