//go:build !unix

package main

import (
	"os"
	"syscall"
)

// passedOn returns the signals that a wrapped command gets too.
func passedOn() []os.Signal { return []os.Signal{os.Interrupt} }

// asksToEnd reports whether a signal asks a process to end in order.
func asksToEnd(s os.Signal) bool { return s == os.Interrupt }

func ownGroup() *syscall.SysProcAttr { return nil }

// statusOf returns the exit status of a process.
func statusOf(p *os.ProcessState) int { return p.ExitCode() }
