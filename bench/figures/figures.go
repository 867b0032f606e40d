// Package figures holds what is measured: one file a figure, which begins with what the
// figure is to reach and then says how it is measured. To add one, write such a file and
// name it in [All].
package figures

import (
	"strings"

	"github.com/rollcall-registry/rollcall/bench/child"
	"github.com/rollcall-registry/rollcall/bench/report"
)

// Figure is one thing to measure, in one or more rows of the table.
type Figure struct {
	Name string
	What string // in a sentence
	Rows []report.Row
	Run  func(*Bench) error
	// Asked says that it takes so long that it is only measured if it is named.
	Asked bool
}

// All returns the figures in the order of the table.
func All() []Figure {
	return []Figure{register, registerBatch, groupCommit, resolve, lookup, renew, positions, overload, storm,
		watchLatency, watchFanout, watchIsolation, watchStalled, watchMemory, watchBytes,
		memory,
		dnsA, dnsSRV, dnsNames, dnsLatency, dnsDnsperf,
		grpcRenew, grpcRegister, watchStreams, watchStreamsMemory, sessions, grpcHerd,
		expiry, restart, herd, heartbeatLoad, churn, curves, liveness}
}

// Rows returns the rows of all figures.
func Rows() (rows []report.Row) {
	for _, f := range All() {
		rows = append(rows, f.Rows...)
	}
	return rows
}

// Find returns the figures whose names begin with one of those given; if none is, all
// that need not be asked for.
func Find(names []string) (found []Figure) {
	for _, f := range All() {
		for _, n := range names {
			if strings.HasPrefix(f.Name, n) {
				found = append(found, f)
				break
			}
		}
		if len(names) == 0 && !f.Asked {
			found = append(found, f)
		}
	}
	return found
}

// Roles returns what this program can be as a child of itself.
func Roles() map[string]child.Role {
	return map[string]child.Role{
		"bare": serveBare, "commit": commitWork, "lookup": lookupWork, "etcd": serveEtcd, "crowd": serveCrowd, "bare-grpc": serveEcho, "streams": serveStreams,
		"echo": serveUDPEcho, "sitters": serveSitters, "clients": serveHerd,
	}
}
