// Package view makes immutable views of what a watch tells, and what a picker is to
// choose from.
//
// A [State] is changed by one goroutine and hands out a [View] of itself, which is a
// copy of pointers: an [Entry] is never changed but replaced, so that a change in a
// service of 20,000 costs one entry and 160 KB of pointers, and what both views have
// in common is there once.
package view
