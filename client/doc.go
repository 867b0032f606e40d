// Package client talks to a Rollcall registry: it registers instances and keeps
// their leases, resolves services and watches them.
//
// A [Client] is made by [Dial], which opens nothing, and may be used by any
// number of goroutines. What a server refuses comes back as a [*rollcall.Error];
// match its kind with [errors.Is]. Calls that ask and answer once take at most
// the client's timeout (see [WithTimeout]); only [Client.Watch], and a
// [Registration] in the background, go on trying.
//
// The package speaks the HTTP API and imports the standard library and package
// rollcall alone.
package client
