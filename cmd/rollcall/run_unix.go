//go:build unix

package main

import (
	"os"
	"syscall"
)

// passedOn returns the signals that a wrapped command gets too.
func passedOn() []os.Signal {
	return []os.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGCONT,
	}
}

// asksToEnd reports whether a signal asks a process to end in order.
func asksToEnd(s os.Signal) bool { return s == syscall.SIGTERM || s == syscall.SIGINT }

// ownGroup puts a command into a process group of its own: what is typed at a
// terminal then reaches it through its wrapper alone, and once.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// statusOf returns the exit status that a shell would show for a process.
func statusOf(p *os.ProcessState) int {
	if w, ok := p.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return 128 + int(w.Signal())
	}
	return p.ExitCode()
}
