// Package wire is an HTTP/1.1 client that costs little, so that the server is the wall and
// not what measures it: threads that each wait with epoll for non-blocking sockets, send
// requests that were made beforehand but for a few digits, and read no more of a reply
// than its status, its length and, if asked, its ETag.
//
// It loads a server in one of two ways. In a closed loop each connection sends its next
// request when it has its reply: that finds the throughput. In an open loop requests
// arrive on a schedule, whatever the server does, and each goes to a free connection or
// waits for one; latency counts from the time that the schedule says, so that a slow
// server is not spared the requests it kept from being sent (Gil Tene calls that
// coordinated omission).
//
// It speaks to servers that can be trusted: it is no client for anything else.
package wire
