// Package client is Rollcall for Go programs: it registers the instances that a
// process is, and chooses those that it calls, out of a copy of what it needs to
// know that is kept up to date in the process itself.
//
//	c, err := client.Dial("registry:7071") // gRPC; does no I/O, and never waits
//	defer c.Close()
//
//	reg, err := c.Register(ctx, rollcall.Instance{Service: "orders", Ports: map[string]uint16{"http": 8080}})
//	defer reg.Close(ctx) // callers go elsewhere first, then it is removed
//
//	h := http.Client{Transport: c.Transport(nil)}
//	resp, err := h.Get("http://payments/charge") // one of the instances of payments
//
//	p, done, err := c.Pick(ctx, "payments") // the same for any other protocol
//	addr, err := p.Address("grpc")
//	done(call(addr))
//
//	for ev, err := range c.Watch(ctx, rollcall.Query{Service: "payments"}) {
//		…
//	}
//
// A [Client] may be used by any number of goroutines, and one is enough for a
// process: over gRPC it has one connection to the server that it uses, one stream
// for all that it follows, and one for all that it has registered. It speaks gRPC
// or HTTP, as the address says (see [Dial]); what it promises is the same.
//
// # When the registry is away
//
// Nothing of this ends with a connection or a server. A [Registration] is kept
// through outages, by a session that is resumed where it is answered, and made
// again where the registry has forgotten it. [Client.Watch] goes on where it
// stopped. Views ([Client.Subscribe]), picks and the transport go on with what was
// known, and a process that starts meanwhile with what it knew before ([WithCacheDir]).
// Attempts are spaced and jittered, so that clients which lost a server at the same
// moment do not return at the same moment. With several addresses the next is asked.
//
// Calls that ask and answer once do not do that: they take at most the client's
// timeout (see [WithTimeout]).
//
// # Errors
//
// What a server refuses comes back as a [*rollcall.Error]; match its kind with
// [errors.Is], for example [rollcall.ErrNotFound]. [ErrUnreachable] means that no
// server was there to answer.
//
// The package links gRPC, protobuf, golang.org/x and nothing else.
package client
