//go:build unix

package httpapi_test

import (
	"bufio"
	"bytes"
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
	"sync/atomic"
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

// BenchmarkSessionReports has another process report over open sessions, 100
// instances of each at once: as many positions as the machine can take, with
// what it costs the server, and loads at a rate. One operation is a second.
//
//	go test -run - -bench SessionReports -benchtime 10x ./internal/httpapi
func BenchmarkSessionReports(b *testing.B) {
	if how := os.Getenv("ROLLCALL_TEST_REPORTS"); how != "" {
		sendReports(b, strings.Fields(how))
		return
	}
	for _, c := range []struct{ name, how string }{
		{"positions", "position 8 100 0"},
		{"positions at 50,000/s", "position 500 100 50000"},
		{"loads at 10,000/s", "load 100 100 10000"},
		{"loads at 10,000/s, each alone", "load 1000 1 10000"},
	} {
		b.Run(c.name, func(b *testing.B) {
			reg := newRegistry(b)
			w := serve(b, reg, httpapi.New(reg, httpapi.Options{Sessions: &sessions{reg: reg}}))
			cmd := exec.Command(os.Args[0], "-test.run", "-", "-test.bench", "BenchmarkSessionReports$", "-test.benchtime", "1x")
			cmd.Env = append(os.Environ(), "ROLLCALL_TEST_REPORTS="+w.http.Listener.Addr().String()+" "+c.how)
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
			var done int64   // answers that it had
			each := bufio.NewScanner(out)
			next := func() {
				for {
					if !each.Scan() {
						b.Fatal("the other process ended")
					}
					if _, err := fmt.Sscan(each.Text(), &done); err == nil {
						return
					} // else it is of the benchmark itself
				}
			}
			next()
			began, answered, start := processor(), done, time.Now()
			for b.Loop() {
				next()
			}
			n, took := float64(done-answered), time.Since(start)
			cpu := processor() - began
			b.ReportMetric(n/took.Seconds(), "reports/s")
			b.ReportMetric(cpu.Seconds()/took.Seconds(), "cores")
			b.ReportMetric(float64(cpu.Nanoseconds())/n, "cpu-ns/report")
		})
	}
}

// sendReports opens sessions with instances and reports for all of a session at
// once, in turn: at a rate in all, or, if that is 0, as fast as it is answered. It
// prints each second how many answers there were, and ends with its standard
// input.
func sendReports(b *testing.B, how []string) {
	number := func(n int) int {
		i, err := strconv.Atoi(how[n])
		if err != nil {
			b.Fatal(err)
		}
		return i
	}
	addr, kind, open, instances, rate := how[0], how[1], number(2), number(3), number(4)
	var answered atomic.Int64
	due := make([]chan struct{}, open)
	for s := range open {
		due[s] = make(chan struct{}, 1)
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		var line []byte
		for i := range instances {
			line = fmt.Appendf(line, `{"type":"register","instance":{"service":"svc-%d","id":"i-%d-%d","port":80}}`+"\n", s%100, s, i)
		}
		fmt.Fprintf(conn, "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(line), line)
		resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 64<<10), nil)
		if err != nil || resp.StatusCode != 200 {
			b.Fatal(resp, err)
		}
		buf := make([]byte, 64<<10)
		await := func(n int) int {
			for n > 0 {
				got, err := resp.Body.Read(buf)
				if err != nil {
					panic(err)
				}
				n -= bytes.Count(buf[:got], []byte{'\n'})
			}
			return n
		}
		await(1 + instances)
		go func() { // ends with the process
			var head, body []byte
			for turn, over := 0, 0; ; turn++ {
				if rate > 0 {
					<-due[s]
				}
				body = body[:0]
				for i := range instances {
					body = fmt.Appendf(body, `{"type":"report","service":"svc-%d","id":"i-%d-%d",`, s%100, s, i)
					if kind == "position" {
						body = fmt.Appendf(body, `"position":{"lat":%d.%04d,"lon":13.4047}}`+"\n", i%90, turn%10000)
					} else {
						body = fmt.Appendf(body, `"load":{"utilization":0.%02d,"in_flight":12,"rps":101.5,"latency_p50_ms":1.5}}`+"\n", turn%100)
					}
				}
				head = append(append(fmt.Appendf(head[:0], "%x\r\n", len(body)), body...), "\r\n"...)
				if _, err := conn.Write(head); err != nil {
					panic(err)
				}
				over = await(instances + over)
				answered.Add(int64(instances))
			}
		}()
	}
	if rate > 0 {
		go func() { // ends with the process
			began, sent := time.Now(), 0
			for s := 0; ; s++ {
				if wait := time.Duration(sent)*time.Second/time.Duration(rate) - time.Since(began); wait > 0 {
					time.Sleep(wait)
				}
				select {
				case due[s%open] <- struct{}{}:
				default: // it is behind, and is not waited for
				}
				sent += instances
			}
		}()
	}
	go func() { // ends with the process
		for range time.Tick(time.Second) {
			fmt.Println(answered.Load())
		}
	}()
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
