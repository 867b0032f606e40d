// Package rpc is a client of gRPC that costs little, for the same reason as package wire
// is one of HTTP/1.1: one thread waits with epoll for all connections, messages were
// encoded beforehand, and what is to be sent on a connection is written at once, after all
// was read that there is. It knows as much of HTTP/2 as servers of gRPC need: it keeps to
// their windows, opens its own as wide as they go, and answers pings.
//
// It speaks to servers that can be trusted: it is no client for anything else.
package rpc
