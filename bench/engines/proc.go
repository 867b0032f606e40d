package main

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// diskBytes is what this process has caused to be written to block devices.
func diskBytes() int64 { return procField("/proc/self/io", "write_bytes:") }

// peakRSS is the most memory this process has had resident, in bytes.
func peakRSS() int64 { return procField("/proc/self/status", "VmHWM:") << 10 }

// nowRSS is the memory that this process has resident, in bytes.
func nowRSS() int64 { return procField("/proc/self/status", "VmRSS:") << 10 }

func procField(path, name string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Fields(s.Text()); len(fields) > 1 && fields[0] == name {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			return n
		}
	}
	return 0
}

// load1 is the machine's one-minute load, kept beside each round to show who else ran.
func load1() float64 {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(first, 64)
	return v
}

// diskUsage is the space that a directory's files take, whatever their length says.
func diskUsage(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			bytes += st.Blocks * 512
		}
		return nil
	})
	return bytes, err
}
