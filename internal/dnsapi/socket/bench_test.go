package socket

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// load sends b.N packets from 4 sockets with up to window on their way from each, and
// waits for as many; what is lost is sent again.
func load(b *testing.B, addr string, window int) {
	const senders = 4
	query := make([]byte, 50)
	var all sync.WaitGroup
	for range senders {
		c, err := net.Dial("udp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		all.Go(func() {
			in := make([]byte, 4096)
			for n := b.N/senders + 1; n > 0; {
				k := min(n, window)
				for range k {
					c.Write(query)
				}
				c.SetReadDeadline(time.Now().Add(time.Second))
				for range k {
					if _, err := c.Read(in); err != nil {
						break
					}
					n--
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkUDP measures packets there and back, the client's part of them included.
func BenchmarkUDP(b *testing.B) {
	fixed := make([]byte, 150)
	answer := func(b, _ []byte, _ Source) ([]byte, func(context.Context) []byte) { return append(b, fixed...), nil }
	for _, bb := range []struct {
		name   string
		o      Options
		h      handle
		window int
	}{
		{"echo/batch/1", Options{}, echo, 1},
		{"echo/single/1", Options{alone: true}, echo, 1},
		{"echo/batch/32", Options{}, echo, 32},
		{"echo/single/32", Options{alone: true}, echo, 32},
		{"echo/batch/32/wildcard", Options{Addr: ":0"}, echo, 32},
		{"fixed/batch/32", Options{}, answer, 32},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := start(b, bb.o, bb.h)
			_, port, _ := net.SplitHostPort(s.Addr())
			b.ReportAllocs()
			b.ResetTimer()
			load(b, net.JoinHostPort("127.0.0.1", port), bb.window)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "q/s")
		})
	}
}

// BenchmarkTCP measures queries on one connection, several of them written at once.
func BenchmarkTCP(b *testing.B) {
	for _, bb := range []struct {
		name string
		n    int
	}{{"1", 1}, {"32", 32}} {
		b.Run(bb.name, func(b *testing.B) {
			s := start(b, Options{}, echo)
			c := dial(b, "tcp", s.Addr())
			c.SetDeadline(time.Time{})
			var queries []byte
			for range bb.n {
				queries = append(append(queries, 0, 50), make([]byte, 50)...)
			}
			in := make([]byte, len(queries))
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%bb.n != 0 {
					continue
				}
				c.Write(queries)
				if _, err := io.ReadFull(c, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
