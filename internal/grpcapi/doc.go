// Package grpcapi is the gRPC door: the service rollcall.v1.Registry of
// api/rollcall/v1, whose comments are its contract. It turns messages into calls
// of a [Registry] and their outcome into messages, and keeps no state beyond its
// streams.
//
// One table of methods (method.go) is the source of what is served, of how large a
// message may be, and of the metrics' labels. Messages go through the door's own
// codec (codec.go): what many are told alike is encoded once ([watch.Batch.Memo],
// [catalog.View.Memo]) and goes out as it is, each time behind the number of a
// subscription; instances are copied from the catalog's packed records; and the
// two messages that come by the thousand are decoded straight into what the
// registry takes.
//
// gRPC knows no deadlines of reads and writes. A stream's context is the door's
// own instead (see [Server.admit]): ending it ends whatever waits for its client.
package grpcapi
