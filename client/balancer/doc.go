// Package balancer chooses, in the process of a caller, which instance of a
// service gets the next request. A [Balancer] takes what the registry says
// ([Balancer.Update]: who there is, with which weight, where), what its own
// requests show ([Pick.Done]: how long they took and whether they failed), and,
// where instances answer probes, how many requests they have in flight
// ([Probe.Answer]), which no caller can know alone.
//
// # How it chooses
//
// Requests follow a weighted order that is even over any stretch: the fractional
// parts of multiples of the golden ratio (a Kronecker sequence, whose visits to an
// interval are at three distances at most) fall on a line on which each instance
// has a piece as long as its weight. The order is a function of a counter, so that
// nobody waits for anybody, and so that it is known who comes next: these are
// probed ahead. That keeps utilisation equal, because weights are the registry's,
// which sees the utilisation of all.
//
// A request leaves the order where its turn is on an instance that is hot. With a
// fresh probe that is one whose requests in flight, relative to its weight, are
// beyond the median of the service and whose latency at that number is beyond 1.5
// times the median. Less would take turns from instances that are no worse than
// their hardware, and cost the balance that the weights keep: to follow the rule
// of Prequal at each request makes the tail an eighth shorter at most, and the
// busiest instance work 1.7 times as much as the mean. For a request that has left
// the order the rule chooses among the last sixteen answers: of those that are cold
// (up to the 0.84 quantile in flight) the one with the least latency, and if none
// is, the one with the fewest in flight (Wydrowski, Kleinberg, Rumble, Archer:
// "Load is not what you should balance", NSDI 2024). Without probes the instance is
// compared with one other, by latency times own requests in flight relative to
// weight (power of two choices on an average over time), and left if it is well
// worse.
//
// Errors are no low latency: an instance that fails more often than the service as
// a whole is left as if it were hot, and is no one's alternative; after five
// failures in a row, or two connections that were refused, it is ejected for a while.
// Then it gets one request, and if that fails is ejected for longer. All this ends by
// itself, as does what one slow request says: a latency that is not seen again counts
// for less and less.
//
// # Localities
//
// If the caller says where it is, instances are in rings around it: same sub-zone,
// zone, region, elsewhere. A ring takes 1.4 times its healthy share, and what is
// left goes to the next, so that as long as five in seven are healthy nothing
// leaves a zone, and below that as much as must. That an instance is hot sends nobody
// to another ring.
package balancer
