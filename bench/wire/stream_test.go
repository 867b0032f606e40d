package wire

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestStreams: each connection gives its lines, however they are cut, until the server
// ends it.
func TestStreams(t *testing.T) {
	const conns = 3
	long := strings.Repeat("x", 2*lineKept)
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for _, piece := range []string{"one\ntw", "o\n" + long, "y\nthree\n"} {
			fmt.Fprint(w, piece)
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	})
	var ended sync.WaitGroup
	ended.Add(conns)
	lines := make([][]string, conns)
	read := 0
	s := Streams{
		Addr: addr, Conns: conns, Request: func(int) []byte { return []byte(get) },
		Line: func(i int, line []byte, _ time.Time) { lines[i] = append(lines[i], string(line)) },
		Read: func(_, n int) { read += n },
		Ended: func(_ int, err error) {
			if err != nil {
				t.Error(err)
			}
			ended.Done()
		},
	}
	if err := s.Open(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Run() }()
	ended.Wait()
	s.Stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.Close()
	for i, got := range lines {
		if strings.Join(got, ",") != "one,two,"+long[:lineKept]+",three" {
			t.Errorf("connection %d: %.30q", i, got)
		}
	}
	if read < conns*len(long) {
		t.Errorf("%d bytes", read)
	}
}

// TestTotal: a load with a total ends when all is answered, and each request was told of
// before.
func TestTotal(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {})
	var mu sync.Mutex
	due := 0
	l := Load{Addr: addr, Conns: 7, Threads: 2, Total: 101, Source: func(int) Source {
		return Source{
			Next: func(dst []byte) ([]byte, int) { return append(dst, get...), 0 },
			Due:  func(int, time.Time) { mu.Lock(); due++; mu.Unlock() },
		}
	}}
	for _, l.Rate = range []float64{0, 1e6} {
		due = 0
		r, err := l.Run()
		if err != nil || r.Done != 101 || due != 101 || r.Length > 5*time.Second {
			t.Errorf("rate %v: %d done in %v, %d due, %v", l.Rate, r.Done, r.Length, due, err)
		}
	}
}
