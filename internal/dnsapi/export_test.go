package dnsapi

import (
	"math/rand/v2"

	"github.com/rollcall-registry/rollcall/internal/dnsapi/socket"
)

// Prepare makes a server without sockets.
func Prepare(reg Registry, o Options) (*Server, error) { return prepare(reg, o) }

// Handler returns a handler that draws as a seed says.
func Handler(s *Server, seed uint64) socket.Handler { return s.handler(rand.New(rand.NewPCG(seed, 1))) }

// Known returns how many questions a handler remembers.
func Known(h socket.Handler) int { return h.(*handler).known.n }
