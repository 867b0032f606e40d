//go:build unix

package httpapi_test

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall/internal/httpapi"
)

var openSessions = flag.Int("sessions", 1000, "how many sessions the benchmark holds open")

// BenchmarkSessions holds sessions open, each with an instance, from another
// process, and tells what one costs the server: bytes, and CPU while all that
// goes over it are pings and pongs. One operation is a second of that. The
// figures of 10,000 take
//
//	ulimit -n 20000; go test -run - -bench Sessions -benchtime 10x ./internal/httpapi -sessions 10000
func BenchmarkSessions(b *testing.B) {
	if addr := os.Getenv("ROLLCALL_TEST_SESSIONS"); addr != "" {
		holdSessions(b, addr, *openSessions)
		return
	}
	core := &sessions{reg: newRegistry(b)}
	w := serve(b, core.reg, httpapi.New(core.reg, httpapi.Options{Sessions: core}))
	before := bytesHeld()
	goroutines := runtime.NumGoroutine()
	cmd := exec.Command(os.Args[0], "-test.run", "-", "-test.bench", "BenchmarkSessions$", "-test.benchtime", "1x", "-sessions", strconv.Itoa(*openSessions))
	cmd.Env = append(os.Environ(), "ROLLCALL_TEST_SESSIONS="+w.http.Listener.Addr().String())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close() // ends it
	for lines := bufio.NewScanner(out); ; {
		if !lines.Scan() {
			b.Fatal("the other process ended")
		}
		if strings.Contains(lines.Text(), "open") {
			break
		}
	}
	go io.Copy(io.Discard, out) // ends with the process, which the benchmark waits for
	n := float64(*openSessions)
	held, more := float64(bytesHeld()-before)/n, float64(runtime.NumGoroutine()-goroutines)/n
	began := processor()
	ticks := time.NewTicker(time.Second)
	defer ticks.Stop()
	seconds := 0
	for b.Loop() {
		<-ticks.C
		seconds++
	}
	b.ReportMetric(held, "B/session")
	b.ReportMetric(more, "goroutines/session")
	b.ReportMetric((processor()-began).Seconds()/float64(seconds), "cores")
}

// holdSessions opens sessions, answers their pings, and returns when its
// standard input ends.
func holdSessions(b *testing.B, addr string, n int) {
	var open sync.WaitGroup
	slots := make(chan struct{}, 64)
	for id := range n {
		slots <- struct{}{}
		open.Go(func() {
			defer func() { <-slots }()
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			line := fmt.Sprintf(`{"type":"register","instance":{"service":"svc-%d","id":"i-%d","port":80}}`+"\n", id%100, id)
			fmt.Fprintf(conn, "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(line), line)
			in := bufio.NewReader(conn)
			resp, err := http.ReadResponse(in, nil)
			if err != nil || resp.StatusCode != 200 {
				b.Fatal(resp, err)
			}
			lines := bufio.NewReader(resp.Body)
			next := func() string { l, _ := lines.ReadString('\n'); return l }
			if next(); !strings.Contains(next(), "registered") {
				b.Fatal("not registered")
			}
			go func() { // ends with the process
				for strings.Contains(next(), "ping") {
					io.WriteString(conn, "10\r\n{\"type\":\"pong\"}\n\r\n")
				}
			}()
		})
	}
	open.Wait()
	fmt.Println("open")
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// bytesHeld returns the bytes that the heap and all stacks hold.
func bytesHeld() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// processor returns the CPU time that the process has used.
func processor() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
