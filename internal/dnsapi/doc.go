// Package dnsapi is the DNS door: for programs that know nothing of Rollcall. It
// translates: a query becomes what its name means (package name) and one call of
// the core, and that is answered. It keeps no state that is not a cache.
//
// Queries for the addresses and ports of a service are nearly all there are. They are
// read by hand, and their records are packed once for each state of the service and
// hang on its view (package answer, [catalog.View.Keep]); what is left to do for each
// of them is to draw an order and to copy. All else goes record by record through
// github.com/miekg/dns, which knows the formats.
//
// The door does not lie. What is not known yet is SERVFAIL, never "there is none"; who
// has nobody to send traffic to now is NODATA for a second, and only what does not
// exist is NXDOMAIN; an answer that is cut says so, and has at least one record.
package dnsapi
