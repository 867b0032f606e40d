package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rollcall-registry/rollcall/bench/plain"
)

const recordSize, keySize = 400, 30

// fillRecord writes record number n: a key of 30 bytes, then bytes that n determines.
func fillRecord(r []byte, n uint64) {
	copy(r, "instance-0000-")
	binary.BigEndian.PutUint64(r[14:], n)
	binary.BigEndian.PutUint64(r[22:], ^n)
	x := n*0x9E3779B97F4A7C15 + 1
	for i := keySize; i+8 <= len(r); i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(r[i:], x)
	}
}

// Round is one engine at one number of writers, as kept in the raw results.
type Round struct {
	Engine       string  `json:"engine"`
	Writers      int     `json:"writers"`
	FsyncDelayMs float64 `json:"fsync_delay_ms"`
	Round        int     `json:"round"`
	Seconds      float64 `json:"seconds"`
	Writes       int64   `json:"writes"`
	PerSecond    float64 `json:"per_second"`
	P50Ms        float64 `json:"p50_ms"`
	P99Ms        float64 `json:"p99_ms"`
	PerCPUSecond float64 `json:"per_cpu_second"`
	BytesPer     float64 `json:"disk_bytes_per_write"`
	Start        string  `json:"start"`
	Load1        float64 `json:"load1_before"`
}

// measure runs one engine in a fresh directory for the warm-up plus the given time.
func measure(s Spec, dir string, writers int, warm, length, delay time.Duration) (Round, error) {
	r := Round{Engine: s.Name, Writers: writers, FsyncDelayMs: float64(delay) / 1e6, Load1: load1()}
	dir = filepath.Join(dir, s.Name)
	if err := os.RemoveAll(dir); err != nil {
		return r, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	settle()
	e, err := s.Open(Config{Dir: dir, FsyncDelay: delay})
	if err != nil {
		return r, err
	}

	const warming, measuring, stopping = 0, 1, 2
	var phase atomic.Int32
	var failed atomic.Value
	var workers, commits sync.WaitGroup
	latencies := make([][]int32, writers) // microseconds
	c := plain.NewGroup()
	commits.Go(func() { c.Run(e.Commit) })
	for i := range writers {
		workers.Go(func() {
			record, ack := make([]byte, recordSize), make(chan error, 1)
			fillRecord(record, uint64(i))
			one := [][]byte{record}
			seen := make([]int32, 0, 1<<16)
			for n := uint64(0); ; n++ {
				p := phase.Load()
				if p == stopping {
					break
				}
				binary.BigEndian.PutUint64(record[14:], uint64(i)<<40|n)
				start := time.Now()
				var err error
				if s.Native {
					err = e.Commit(one)
				} else {
					err = c.Write(record, ack)
				}
				if err != nil {
					failed.Store(err)
					break
				}
				if p == measuring {
					seen = append(seen, int32(time.Since(start).Microseconds()))
				}
			}
			latencies[i] = seen
		})
	}

	time.Sleep(warm)
	cpu, disk, start := cpuTime(), diskBytes(), time.Now()
	phase.Store(measuring)
	time.Sleep(length)
	phase.Store(stopping)
	elapsed, cpu, disk := time.Since(start), cpuTime()-cpu, diskBytes()-disk
	workers.Wait()
	c.Stop()
	commits.Wait()
	if err := e.Close(); err != nil {
		return r, err
	}
	if err, ok := failed.Load().(error); ok {
		return r, err
	}

	all := slices.Concat(latencies...)
	slices.Sort(all)
	r.Start = start.UTC().Format(time.RFC3339)
	r.Seconds, r.Writes = elapsed.Seconds(), int64(len(all))
	r.PerSecond = float64(len(all)) / elapsed.Seconds()
	r.PerCPUSecond = float64(len(all)) / cpu.Seconds()
	r.BytesPer = float64(disk) / float64(len(all))
	if len(all) > 0 {
		r.P50Ms = float64(all[len(all)/2]) / 1e3
		r.P99Ms = float64(all[len(all)*99/100]) / 1e3
	}
	return r, nil
}

// settle keeps the last round's garbage, in memory and on disk, out of the next one.
func settle() {
	runtime.GC()
	syscall.Sync()
	time.Sleep(500 * time.Millisecond)
}

// cpuTime is what this process has used, user and system.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
