package local

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// registration is one instance of about 400 bytes in the log.
func registration(n int) rollcall.Change {
	return rollcall.Change{At: time.Unix(1_700_000_000, 0).UTC(), By: "bench", Via: "http", Body: rollcall.InstancePut{
		Key:    rollcall.NewKey("default", fmt.Sprintf("service-%d", n%10_000), fmt.Sprintf("instance-%d", n)),
		Record: rollcall.Record(strings.Repeat("0123456789", 33)),
	}}
}

// BenchmarkAppend is durable registrations, one per batch, from many writers at
// once.
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 64, 512} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			l := open(b, b.TempDir(), Options{})
			changes := make([]rollcall.Change, 4096)
			for i := range changes {
				changes[i] = registration(i)
			}
			var next atomic.Int64
			b.SetParallelism((writers + 1) / 2) // times GOMAXPROCS, which is 2 where it counts
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := next.Add(1) % int64(len(changes))
					if _, err := l.Append(context.Background(), rollcall.Batch{Changes: changes[i : i+1]}); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// BenchmarkOpen is a start with 1 M instances, up to where the first follower
// has read them all: from the log alone, and from a checkpoint.
func BenchmarkOpen(b *testing.B) {
	const instances, each = 1_000_000, 100
	batch := func(i int) (batch rollcall.Batch) {
		for n := range each {
			batch.Changes = append(batch.Changes, registration(i*each+n))
		}
		return batch
	}
	read := func(b *testing.B, dir string) {
		for b.Loop() {
			l, err := Open(dir, Options{})
			if err != nil {
				b.Fatal(err)
			}
			opened := time.Now()
			n := 0
			for e, err := range l.Follow(context.Background(), 0) {
				if err != nil {
					b.Fatal(err)
				}
				if n += len(e.Changes); n == instances {
					break
				}
			}
			b.ReportMetric(time.Since(opened).Seconds(), "follow-s")
			b.StopTimer()
			l.Close()
			b.StartTimer()
		}
	}
	b.Run("log", func(b *testing.B) {
		dir := b.TempDir()
		l := open(b, dir, Options{})
		for i := range instances / each {
			if _, err := l.Append(context.Background(), batch(i)); err != nil {
				b.Fatal(err)
			}
		}
		l.Close()
		read(b, dir)
	})
	b.Run("checkpoint", func(b *testing.B) {
		dir := b.TempDir()
		var backup bytes.Buffer
		h := record.Header{Log: rollcall.NewLogID(), Revision: instances}
		record.WriteState(&backup, h, func(yield func(rollcall.Change) bool) {
			for i := range instances {
				c := registration(i)
				c.Revision = rollcall.Revision(i + 1)
				if !yield(c) {
					return
				}
			}
		})
		if err := Restore(dir+"/log", &backup, Options{}); err != nil {
			b.Fatal(err)
		}
		read(b, dir+"/log")
	})
}
