// Package rollcall is the vocabulary of the Rollcall service registry: what a
// service, an instance, a lease and a query are, and how they change.
//
// It depends on the standard library alone, so that every other package, the
// Go client and programs that embed neither can share its types. Nothing in it
// performs I/O or keeps state.
package rollcall
