// Package answer keeps what a service is to DNS, and writes it into messages.
//
// A [Set] is packed from the endpoints of an answer once for each state of the
// service; it is flat bytes, so that it can be kept beside the view it was made of.
// [Set.Write] makes a whole message of it for each query, and draws the order anew.
//
// The order is that of drawing lots without putting them back: each place goes to one of
// those left, in proportion to their weights (the law of Efraimidis and Spirakis,
// "Weighted random sampling with a reservoir", 2006). It holds, to within 2^-20 and better,
// of the first place, of the second whatever the first was, and of who is among the first
// k; of all places it holds up to 24 records, of those that weigh the same, of SRV
// records, and where few of many fit. Of addresses that differ in weight and of which most
// fit, the fifth and later places are in no order that weights have a say in. A draw takes
// time and space in proportion to the records of the set at most.
package answer
