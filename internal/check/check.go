// Package check carries out the checks that the registry itself makes: it asks
// instances over HTTP, TCP and gRPC whether they are well, or runs a command.
//
// A [Runner] keeps the schedule. One goroutine holds all checks in a heap by when
// they are due and hands them to a bounded number of workers; a check is with
// one worker or in the heap, so that it is never lost nor probed twice at a time,
// and comes late when all workers are busy. Checks whose target let the last
// probe time out share half of the workers: a network that swallows packets does
// not keep the others waiting. Of one host at most eight probes are under way at
// once; those beyond come late, and keep no worker while they wait.
//
// Each probe is a connection of its own, since that new connections are taken is
// what a caller depends on, and it goes only where the policy of package egress
// lets it. Redirects are not followed. Of an answer a bounded part is read.
// Certificates of https targets are not verified: instances are addressed by IP
// and show internal certificates, and a probe sends nothing that is secret.
//
// What is no evidence about the instance gives no verdict: a probe that ended
// late because this process was paused or starved, or that could not begin for
// want of descriptors or ports.
package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/egress"
)

// Target is an instance as its probes see it. Its maps and slices are not
// written to once it was handed over.
type Target struct {
	// Incarnation is that of the registration, by which its results are known.
	Incarnation rollcall.Revision
	// Address is a host name or IP address.
	Address string
	Ports   map[string]uint16
	// Checks are the instance's; those of type ttl are passed over.
	Checks []rollcall.Check
	// Vouched: it was registered from the very address that it names.
	Vouched bool
	// Configured: it stands in the server's own configuration, whose author may
	// have commands run.
	Configured bool
}

// Outcome is what one probe found.
type Outcome struct {
	// Status is healthy, degraded or unhealthy; 0 is no verdict.
	Status rollcall.Status
	// Output says why, in at most 256 bytes of printable text.
	Output string
	// Hard: the target refused or reset the connection.
	Hard bool
	// Timeout: there was no answer in time.
	Timeout bool
}

// kind names the outcome in metrics.
func (o *Outcome) kind() string {
	switch {
	case o.Timeout:
		return "timeout"
	case o.Hard:
		return "refused"
	case o.Status == 0:
		return "none"
	}
	return o.Status.String()
}

const (
	maxOutput = 256      // bytes of an outcome's text
	maxBody   = 4 << 10  // bytes that are read of an answer's body, a message, a command's output
	maxAnswer = 64 << 10 // bytes that are read of a connection
)

// agent is how probes introduce themselves.
const agent = "rollcall-check"

// prober makes single probes.
type prober struct {
	policy *egress.Policy
	exec   bool
}

// probe carries out one check within its timeout, which the caller has put into
// ctx.
func (p *prober) probe(ctx context.Context, key rollcall.Key, t *Target, c *rollcall.Check) Outcome {
	aim, err := c.ParseTarget()
	if err != nil {
		return unhealthy("%v", err)
	}
	if c.Type == rollcall.CheckExec {
		return p.probeExec(ctx, key, t, c, aim.Command)
	}
	port, err := portOf(t.Ports, c, aim.Port)
	if err != nil {
		return unhealthy("%v", err)
	}
	conn, done, err := p.dial(ctx, t, aim.Host, port)
	if err != nil {
		return failed(err)
	}
	defer done()
	authority := authorityOf(cmp.Or(aim.Host, t.Address), port)
	switch c.Type {
	case rollcall.CheckHTTP:
		return askHTTP(conn, authority, aim.Path)
	case rollcall.CheckHTTPS:
		return askHTTPS(ctx, conn, authority, aim.Path)
	case rollcall.CheckGRPC:
		return askGRPC(conn, authority, aim.Path)
	}
	return Outcome{Status: rollcall.Healthy, Output: "connected"}
}

// once connects to the target's first port.
func (p *prober) once(ctx context.Context, t *Target) Outcome {
	port, ok := t.Ports[rollcall.DefaultPort]
	if !ok && len(t.Ports) > 0 {
		port, ok = t.Ports[slices.Min(slices.Collect(maps.Keys(t.Ports)))], true
	}
	if !ok {
		return Outcome{Output: "it has no port to connect to"}
	}
	_, done, err := p.dial(ctx, t, "", port)
	if err == nil {
		done()
		return Outcome{Status: rollcall.Healthy, Output: "connected"}
	}
	o := failed(err)
	if !o.Hard {
		o.Status = 0
	}
	return o
}

// dial connects to the instance, or to host if it names another one. Reading and
// writing end with ctx; the caller calls done.
func (p *prober) dial(ctx context.Context, t *Target, host string, port uint16) (conn net.Conn, done func(), err error) {
	if host == "" || sameHost(host, t.Address) {
		conn, err = p.policy.Dial(ctx, t.Address, port, t.Vouched)
	} else {
		conn, err = p.policy.DialListed(ctx, host, port)
	}
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() { stop(); conn.Close() }, nil
}

func sameHost(a, b string) bool {
	if strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, ".")) {
		return true
	}
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX == nil && errY == nil && x.Unmap() == y.Unmap()
}

// portOf says which port a check is about: the one that its target names, by
// number or as one of the instance's; otherwise the instance's port that is
// called like the check, like its type, or "default", in this order; otherwise
// the only one that it has.
func portOf(ports map[string]uint16, c *rollcall.Check, named string) (uint16, error) {
	if named != "" {
		if p, ok := ports[named]; ok {
			return p, nil
		}
		if n, err := strconv.ParseUint(named, 10, 16); err == nil && n > 0 {
			return uint16(n), nil
		}
		return 0, fmt.Errorf("the instance has no port called %q", named)
	}
	for _, name := range []string{c.Name, string(c.Type), rollcall.DefaultPort} {
		if p, ok := ports[name]; ok {
			return p, nil
		}
	}
	if len(ports) == 1 {
		for _, p := range ports {
			return p, nil
		}
	}
	return 0, fmt.Errorf("the instance has %d ports and none is called %s, %s or %s: name one in the check's target, like \":8080\"",
		len(ports), c.Name, c.Type, rollcall.DefaultPort)
}

// authorityOf returns host and port as they stand in a request: without a zone,
// which means something on this machine alone.
func authorityOf(host string, port uint16) string {
	if a, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(a.WithZone(""), port).String()
	}
	return host + ":" + strconv.Itoa(int(port))
}

func unhealthy(format string, args ...any) Outcome {
	return Outcome{Status: rollcall.Unhealthy, Output: clean(fmt.Sprintf(format, args...))}
}

// failed says what an error of dialling, writing or reading means.
func failed(err error) Outcome {
	is := func(targets ...error) bool {
		return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
	}
	netErr, isNet := errors.AsType[net.Error](err)
	switch {
	case is(context.Canceled):
		return Outcome{Output: "the probe was given up"}
	case is(syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL):
		return Outcome{Output: clean("the registry could not probe: " + err.Error())} // its own fault
	case is(context.DeadlineExceeded, os.ErrDeadlineExceeded, syscall.ETIMEDOUT) || isNet && netErr.Timeout():
		o := unhealthy("no answer in time")
		o.Timeout = true
		return o
	case is(syscall.ECONNREFUSED):
		o := unhealthy("connection refused")
		o.Hard = true
		return o
	case is(syscall.ECONNRESET, syscall.EPIPE):
		o := unhealthy("connection reset")
		o.Hard = true
		return o
	case is(io.EOF, io.ErrUnexpectedEOF):
		return unhealthy("connection closed without a complete answer")
	}
	return unhealthy("%v", err)
}

// clean returns what may be shown of text that came from elsewhere: printable
// characters, runs of others as one space, at most maxOutput bytes.
func clean(s string) string {
	var b strings.Builder
	space := false
	for _, r := range s {
		if r == unicode.ReplacementChar || !unicode.IsGraphic(r) || unicode.IsSpace(r) {
			space = b.Len() > 0
			continue
		}
		if b.Len()+5 > maxOutput-len("…") { // a space and any character
			b.WriteString("…")
			break
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}
