// Package socket carries DNS messages over UDP and TCP (RFC 1035, 4.2; RFC 7766) and
// knows nothing of what they say.
//
// There is a UDP socket for each processor, where the system can spread queries over
// several (SO_REUSEPORT), and one goroutine for each, which reads what has come, has
// each query answered and sends the answers together: none waits for another to come.
// A reply leaves from the address the query was sent to. On a TCP connection queries
// are answered in the order in which they came, except for those that take long, which
// are written when they are done; answers to queries that came together are written
// together.
//
// A server outlives what is thrown at it: errors of a socket that are another's doing
// are passed over, connections and answers that take long are bounded, and so is the
// time that a peer may take to send a query or to take an answer.
package socket
