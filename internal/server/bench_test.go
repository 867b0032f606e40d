package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/heap"
	"github.com/rollcall-registry/rollcall/internal/server"
)

// about is an instance that says something of everything that services usually say of
// themselves.
const about = `{"service":"service-00000","id":"i-000000000","address":"10.0.3.17","ports":{"http":8080},"version":"2.4.1","node":"host-17",` +
	`"locality":{"region":"eu-west","zone":"eu-west-1a"},"capabilities":{"gpu":2,"canary":true,"codecs":["h264","av1"]},` +
	`"metadata":{"team":"checkout","tier":"gold","build":"4711","commit":"c0ffee"},"lease":{"ttl":"1h","remove_after":"1h"}}`

// batches makes messages of many instances, each of another of so many services.
type batches struct {
	item           []byte
	open, sep, end string
	service, id    int // where their numbers end
	services       int
	next           atomic.Int64
}

func newBatches(item []byte, services int, open, sep, end string) *batches {
	last := func(name string) int { return bytes.Index(item, []byte(name)) + len(name) }
	return &batches{item: item, open: open, sep: sep, end: end, services: services, service: last("service-00000"), id: last("i-000000000")}
}

func (m *batches) append(b []byte, n int) []byte {
	b = append(b, m.open...)
	from := int(m.next.Add(int64(n))) - n
	for i := range n {
		if i > 0 {
			b = append(b, m.sep...)
		}
		at := len(b)
		b = append(b, m.item...)
		digits(b[:at+m.service], (from+i)%m.services)
		digits(b[:at+m.id], from+i)
	}
	return append(b, m.end...)
}

// digits writes n at the end of b.
func digits(b []byte, n int) {
	for i := len(b) - 1; n > 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
}

// rawCodec sends bytes that are encoded already, and takes answers as they are.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b := v.(*[]byte)
	*b = append((*b)[:0], data.Materialize()...)
	return nil
}

// BenchmarkRegisterBatch registers instances that are new, each of another of 10,000
// services, a thousand in a message over gRPC and a hundred as JSON, from eight clients at
// once. What it reports is for one of them: the time of the processors, whoever else has
// them, in which that of the clients is included, a twentieth or so; and what is allocated.
func BenchmarkRegisterBatch(b *testing.B) {
	const clients, services = 8, 10_000
	run := func(b *testing.B, batch int, m *batches, send func(s *server.Server, c int) func(body []byte) error) {
		s, err := server.New(server.Config{DataDir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		var all, serving sync.WaitGroup
		ctx, stop := context.WithCancel(b.Context())
		ready := make(chan struct{})
		serving.Go(func() { s.Run(ctx, func() { close(ready) }) })
		serving.Go(func() { heap.Pace(ctx) })
		defer serving.Wait()
		defer stop()
		<-ready
		runtime.GC()
		var left atomic.Int64
		left.Store(int64(b.N))
		b.ReportAllocs()
		cpu := processor(b)
		b.ResetTimer()
		for c := range clients {
			all.Go(func() {
				send, body := send(s, c), []byte(nil)
				for left.Add(-int64(batch)) > -int64(batch) {
					body = m.append(body[:0], batch)
					if err := send(body); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		b.StopTimer()
		b.ReportMetric(float64(processor(b)-cpu)/float64(m.next.Swap(0)), "cpu-ns/op")
	}
	b.Run("grpc", func(b *testing.B) {
		var i rollcall.Instance
		if err := json.Unmarshal([]byte(about), &i); err != nil {
			b.Fatal(err)
		}
		item, err := proto.Marshal(&pb.RegisterRequest{Instances: []*pb.Instance{pb.FromInstance(&i)}})
		if err != nil {
			b.Fatal(err)
		}
		run(b, 1000, newBatches(item, services, "", "", ""), func(s *server.Server, _ int) func([]byte) error {
			conn, err := grpc.NewClient("passthrough:///"+s.GRPCAddr(), grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{})))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { conn.Close() })
			var answer []byte
			return func(body []byte) error {
				return conn.Invoke(b.Context(), pb.Registry_Register_FullMethodName, body, &answer)
			}
		})
	})
	b.Run("http", func(b *testing.B) {
		run(b, 100, newBatches([]byte(about), services, "[", ",", "]"), func(s *server.Server, _ int) func([]byte) error {
			return func(body []byte) error {
				r, err := http.Post("http://"+s.Addr()+"/api/v1/instances", "application/json", bytes.NewReader(body))
				if err != nil {
					return err
				}
				defer r.Body.Close()
				_, err = io.Copy(io.Discard, r.Body)
				return err
			}
		})
	})
}

// processor returns how long this process has had a processor, in nanoseconds.
func processor(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
