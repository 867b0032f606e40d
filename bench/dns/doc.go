// Package dns loads servers of DNS over UDP at little cost, so that the server is the wall
// and not what measures it: one thread that waits with epoll for a number of sockets, takes
// answers many at a time, and hands the kernel the queries of a socket as one piece, which
// it cuts up (UDP_SEGMENT). To the server they are datagrams like any others.
//
// As package wire does, it loads a server in one of two ways. In a closed loop so many
// queries are under way on each socket, and each answer is followed by another query: that
// finds the throughput. In an open loop they arrive on a schedule, and latency counts from
// when they were due.
//
// An answer counts if it is of that id, repeats the question byte by byte, is not truncated,
// and has no error and as many records as are asked for. A query that is not answered for a
// while is lost, and is not sent again.
package dns
