package dns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall/bench/wire"
)

// Types of records.
const (
	A   = 1
	SRV = 33
)

// header is the length of what stands before the question.
const header = 12

// Query is a query about one of many names, which differ in the number of a service.
type Query struct {
	template wire.Template
	end      int // of the question
}

// NewQuery returns a query for a name in which [wire.FilledService] stands for the number,
// as resolvers of programs send it. size is the greatest answer that is welcome, in bytes;
// 0 is what goes without saying, 512.
func NewQuery(name string, qtype, size uint16) Query {
	b := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0} // recursion desired, one question
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		b = append(append(b, byte(len(label))), label...)
	}
	b = binary.BigEndian.AppendUint16(append(b, 0), qtype)
	b = binary.BigEndian.AppendUint16(b, 1) // IN
	end := len(b)
	if size > 0 {
		b[11] = 1 // one additional record: OPT
		b = binary.BigEndian.AppendUint16(append(b, 0, 0, 41), size)
		b = append(b, 0, 0, 0, 0, 0, 0)
	}
	return Query{wire.ParseFilled(string(b)), end}
}

// Append appends the query for a service.
func (q Query) Append(dst []byte, id uint16, service int) []byte {
	at := len(dst)
	dst = q.template.Append(dst, service, 0)
	binary.BigEndian.PutUint16(dst[at:], id)
	return dst
}

// mix gives each letter of a query's name one case or the other, as resolvers do that want
// to be harder to deceive.
func (q Query) mix(query []byte) {
	for at := header; query[at] != 0; at += 1 + int(query[at]) {
		label := query[at+1 : at+1+int(query[at])]
		bits := rand.Uint64()
		for i, c := range label {
			if c|0x20 >= 'a' && c|0x20 <= 'z' {
				label[i] = c&^0x20 | byte(bits>>i&1)<<5
			}
		}
	}
}

var (
	errQuestion  = errors.New("an answer to another question")
	errTruncated = errors.New("a truncated answer")
	errQuery     = errors.New("a query instead of an answer")
)

// check returns an error if this is no good answer with so many records at least. If they
// are 0, it need only be about the same: an echo will do.
func (q Query) check(query, answer []byte, records int) error {
	if len(answer) < q.end || string(answer[header:q.end]) != string(query[header:q.end]) {
		return errQuestion
	}
	if records == 0 {
		return nil
	}
	switch got := int(binary.BigEndian.Uint16(answer[6:])); {
	case answer[2]&0x80 == 0:
		return errQuery
	case answer[3]&15 != 0:
		return fmt.Errorf("rcode %d", answer[3]&15)
	case answer[2]&2 != 0:
		return errTruncated
	case got < records:
		return fmt.Errorf("%d records; want %d", got, records)
	}
	return nil
}

// Until asks a server for a service again and again until it gives a good answer with so
// many records, and returns that.
func (q Query) Until(addr string, service, records int, patience time.Duration) ([]byte, error) {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	query, answer := q.Append(nil, 1, service), make([]byte, 1<<16)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		n, err := ask(c, query, answer)
		if err == nil {
			if err = q.check(query, answer[:n], records); err == nil {
				return answer[:n], nil
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%s, service %d: %w", addr, service, err)
		}
	}
}

func ask(c net.Conn, query, answer []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return 0, err
	}
	if _, err := c.Write(query); err != nil {
		return 0, err
	}
	return c.Read(answer)
}
