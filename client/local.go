package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/local"
)

// WithCaller names who calls, stable over the life of the process: "web-1". The registry
// tells callers apart by it where it learns what their requests came to, and where it
// deals subsets. The default is made of the host's name, the process's number and chance.
func WithCaller(name string) Option { return func(c *Client) { c.local.Caller = name } }

// WithLocality says where the caller is. Picks then stay in its zone for as long as
// enough instances there are healthy.
func WithLocality(l rollcall.Locality) Option { return func(c *Client) { c.local.Locality = l } }

// WithNamespace is the namespace of picks and subscriptions that name none.
func WithNamespace(ns string) Option { return func(c *Client) { c.local.Namespace = ns } }

// WithCacheDir has views kept in a directory, which is made if need be, so that a client
// which finds no registry begins with what was known last. One second after a change it
// is there, and what did not change is confirmed every minute. All clients of one
// registry may share a directory, also those of other processes; clients of another must
// not, for a view does not say whose it is. What is in it is believed: nobody else may be
// able to write to it.
func WithCacheDir(dir string) Option { return func(c *Client) { c.local.Dir = dir } }

// leastSubset is of how many instances a subset is at least: with fewer, one that fails
// is too many of them.
const leastSubset = 12

// WithSubset has picks and subscriptions be of n instances of a service, at least 12,
// which the registry deals so that all callers together use all instances alike. It is
// for services with so many that each caller should not be connected to all.
func WithSubset(n int) Option { return func(c *Client) { c.local.Subset = n } }

// newLocal returns what c knows by itself.
func newLocal(c *Client) *local.Local {
	l := local.New()
	l.Caller = callerName()
	l.Timeout = func() time.Duration { return c.timeout }
	l.Log = func() *slog.Logger { return c.log }
	l.Registry = local.Registry{
		Resolve: c.Resolve,
		Observe: c.Observe,
		Follow: func(ctx context.Context, q rollcall.Query, known []rollcall.Instance) iter.Seq2[Event, error] {
			at := cursor{token: q.After, begun: !q.After.IsZero(), memory: newMemory(q), acks: true}
			for _, i := range known {
				at.memory.back(i)
			}
			return c.follow(ctx, q, at)
		},
	}
	return l
}

// callerName makes up the name of a caller.
func callerName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "host"
	}
	host = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, host[:min(len(host), 63)])
	var b [4]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), hex.EncodeToString(b[:]))
}
