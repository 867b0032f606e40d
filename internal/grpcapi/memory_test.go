package grpcapi_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"google.golang.org/grpc"

	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/store/memory"
)

// watchersAt names the server that a process of watchers watches.
const watchersAt = "ROLLCALL_TEST_WATCHERS_AT"

const memoryConnections, memoryStreams, memoryFurther = 20, 100, 20

// TestWatchMemory: a stream with one subscription costs the server at most 24 KB, and
// each further subscription on it at most 2 KB.
func TestWatchMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has memory of its own")
	}
	if testing.Short() {
		t.Skip("takes a second")
	}
	addr := serve(t, memory.New())
	few(t, connect(t, addr, false))
	cmd := exec.Command(os.Args[0], "-test.run=^TestWatchersForMemory$")
	cmd.Env = append(os.Environ(), watchersAt+"="+addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	before := inUse()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	step := func() uint64 {
		t.Helper()
		io.WriteString(in, "go\n")
		if !lines.Scan() || lines.Text() != "done" {
			t.Fatalf("the watchers said %q", lines.Text())
		}
		return inUse()
	}
	const streams = memoryConnections * memoryStreams
	one := step()
	more := step()
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	each, further := float64(one-before)/streams, float64(more-one)/streams/memoryFurther
	t.Logf("%d streams on %d connections: %.1f KB each, and %.2f KB for each further subscription", streams, memoryConnections, each/1024, further/1024)
	if each > 24<<10 || further > 2<<10 {
		t.Errorf("a stream with a subscription costs %.0f bytes, and each further one %.0f", each, further)
	}
}

// inUse returns how much of heap and stacks is in use.
func inUse() uint64 {
	var m runtime.MemStats
	for range 3 { // pools keep what they have over one
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// TestWatchersForMemory is the other process of [TestWatchMemory]: with each line it
// reads it goes on by a step.
func TestWatchersForMemory(t *testing.T) {
	addr := os.Getenv(watchersAt)
	if addr == "" {
		t.Skip("has nobody to watch")
	}
	steps := bufio.NewScanner(os.Stdin)
	steps.Scan()
	streams := make([]pb.Registry_WatchClient, 0, memoryConnections*memoryStreams)
	var all sync.WaitGroup
	first := func(stream pb.Registry_WatchClient, number int) {
		q := &pb.Query{Service: fmt.Sprintf("service-%d", number%10)}
		if err := stream.Send(&pb.WatchRequest{Say: &pb.WatchRequest_Subscribe{Subscribe: &pb.Subscribe{Subscription: uint64(number), Query: q}}}); err != nil {
			t.Error(err)
			return
		}
		for {
			m, err := stream.Recv()
			if err != nil {
				t.Error(err)
				return
			}
			if m.Subscription == uint64(number) && m.GetState() != nil {
				return
			}
		}
	}
	for range memoryConnections {
		c := pb.NewRegistryClient(connect(t, addr, false))
		for range memoryStreams {
			stream, err := c.Watch(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, stream)
		}
		all.Go(func() {
			for _, stream := range streams[len(streams)-memoryStreams:] {
				first(stream, 1)
			}
		})
		all.Wait()
	}
	fmt.Println("done")
	steps.Scan()
	for _, stream := range streams {
		all.Go(func() {
			for n := range memoryFurther {
				first(stream, n+2)
			}
		})
	}
	all.Wait()
	fmt.Println("done")
	steps.Scan()
}

// few registers ten services of one instance.
func few(t *testing.T, conn *grpc.ClientConn) {
	t.Helper()
	for n := range 10 {
		put(t, pb.NewRegistryClient(conn), fleetInstance(100*n))
	}
}
