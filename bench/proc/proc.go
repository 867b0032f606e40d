// Package proc reads from /proc what a process uses, and what machine this is.
package proc

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of CPU times in /proc: USER_HZ, which is 100 on all that Go runs on.
const tick = 10 * time.Millisecond

// Usage is what a process has used so far, and has now.
type Usage struct {
	CPU     time.Duration // user and system
	RSS     int64         // bytes resident
	Peak    int64         // the most bytes that were
	Written int64         // bytes it caused to be written to block devices
}

// Read reads what the process pid uses.
func Read(pid int) (u Usage, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u, err
	}
	// The second field is a name in parentheses, in which anything may stand.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return u, fmt.Errorf("%s/stat: %q", dir, stat)
	}
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, err
		}
		u.CPU += time.Duration(n) * tick
	}
	u.RSS = number(dir+"/status", "VmRSS:") << 10
	u.Peak = number(dir+"/status", "VmHWM:") << 10
	u.Written = number(dir+"/io", "write_bytes:")
	return u, nil
}

// Self returns the CPU time of this process.
func Self() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Busy returns the time that all processes of this machine together have run. What a
// process can be shown to have used is about its share of that.
func Busy() (busy time.Duration) {
	for i := range 3 { // user, nice and system
		n, _ := strconv.ParseInt(word("/proc/stat", "cpu ", i), 10, 64)
		busy += time.Duration(n) * tick
	}
	return busy
}

// number finds the number behind a name; 0 if it is not there.
func number(path, name string) int64 {
	n, _ := strconv.ParseInt(word(path, name, 0), 10, 64)
	return n
}

// word finds a line's name and returns a word behind it.
func word(path, name string, i int) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), name); ok {
			if fields := strings.Fields(rest); len(fields) > i {
				return fields[i]
			}
		}
	}
	return ""
}

// Machine says where something was measured.
type Machine struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	MemoryGiB  float64 `json:"memory_gib"`
	Kernel     string  `json:"kernel"`
	Go         string  `json:"go"`
	Filesystem string  `json:"filesystem"` // of the data directory
	Load       float64 `json:"load_before"`
}

// Here describes this machine, with the file system that dir is on.
func Here(dir string) Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), Filesystem: filesystem(dir)}
	m.MemoryGiB = float64(number("/proc/meminfo", "MemTotal:")) / (1 << 20)
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for s := bufio.NewScanner(f); s.Scan(); {
			if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
				m.CPU = strings.TrimSpace(value)
				break
			}
		}
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
	}
	m.Load, _ = strconv.ParseFloat(word("/proc/loadavg", "", 0), 64)
	return m
}

// filesystem names the file system of a directory: that of the longest mount point above.
func filesystem(dir string) (name string) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	f, err := os.Open("/proc/mounts")
	if err != nil {
		return ""
	}
	defer f.Close()
	longest := -1
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 3 {
			continue
		}
		point := strings.TrimSuffix(fields[1], "/") + "/"
		if strings.HasPrefix(dir+"/", point) && len(point) >= longest {
			name, longest = fields[2]+" on "+fields[0], len(point)
		}
	}
	return name
}
