package answer

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
)

// Set is the records that a service is answered with, packed: addresses, targets
// with their ports, host names, and the weight of each. It is immutable and may be
// read by many at once. The zero Set has no records.
//
// It begins with a header: how many records the four tables have, one bit each that
// says that all of a table weigh the same, and the fewest bytes of an SRV record's
// data. The tables follow, each as weights, odds if there are many that differ, and
// bodies, all of one size; then the text that the bodies of SRV records and host
// names point into.
type Set []byte

// The tables of a set, in order.
const (
	tableA = iota
	tableAAAA
	tableSRV
	tableName
	tables
)

// Record types that a set has records of.
const (
	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28
	typeSRV   = 33
)

const (
	header = 4*tables + 4
	// evenAt and leastAt are where the header has the bits of tables that are even,
	// and the fewest bytes of an SRV record's data.
	evenAt, leastAt = 4 * tables, 4*tables + 2
)

// bodies are the bytes of a body in each table: an address, or where in the text it is.
var bodies = [tables]int{4, 16, 4, 4}

// table is one of a set's tables.
type table struct {
	lots
	bodies []byte
}

// table returns table t. It is empty if the set is not what Pack makes.
func (s Set) table(t int) table {
	tb, _ := s.upTo(t)
	return tb
}

// upTo returns table t and what follows it.
func (s Set) upTo(t int) (tb table, rest []byte) {
	if len(s) < header {
		return table{}, nil
	}
	rest = s[header:]
	for n := 0; n <= t; n++ {
		count := int(min(binary.LittleEndian.Uint32(s[4*n:]), math.MaxInt32/32))
		even := s[evenAt]>>n&1 == 1
		size := count * (4 + bodies[n])
		odds := 0
		if hasOdds(count, even) {
			odds = 8 * count
		}
		if size+odds > len(rest) {
			return table{}, nil
		}
		tb = table{lots{n: count, even: even, weights: rest[:4*count], odds: rest[4*count : 4*count+odds]}, rest[4*count+odds : size+odds]}
		rest = rest[size+odds:]
	}
	return tb, rest
}

func (s Set) of(qtype uint16) int {
	switch qtype {
	case typeA:
		return tableA
	case typeAAAA:
		return tableAAAA
	case typeSRV:
		return tableSRV
	}
	return tables
}

// Count returns how many records of a type (A 1, AAAA 28, SRV 33) the set has; 0 of
// any other. An address that several instances share is one record of A or AAAA.
func (s Set) Count(qtype uint16) int {
	t := s.of(qtype)
	if t == tables || len(s) < header {
		return 0
	}
	return int(binary.LittleEndian.Uint32(s[4*t:]))
}

// Name returns the host name of an instance that has one instead of an address, drawn
// by weight, in wire form. It shares the set's memory. ok is false if there is none.
func (s Set) Name(r *rand.Rand) (wire []byte, ok bool) {
	t, text := s.upTo(tableName)
	if t.n == 0 {
		return nil, false
	}
	at := int(binary.LittleEndian.Uint32(t.bodies[4*t.one(r):]))
	if at >= len(text) || at+1+int(text[at]) > len(text) {
		return nil, false
	}
	return text[at+1:][:text[at]], true
}
