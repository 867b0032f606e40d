// Package rollcallpb is the gRPC API of Rollcall: what rollcall.proto makes of it,
// and the way between its messages and package rollcall's types, which both ends
// of the wire take.
package rollcallpb

//go:generate go run ../../../internal/generate rollcall.proto
