package record

import (
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
)

// ReadPlain reads the gRPC API's message of an instance, if that is plain, as nearly
// all are that come by the thousand: its fields are in order and written in the
// shortest way, nothing is among them but what is registered, with neither position
// nor checks, and its ports, capabilities and metadata are right and within l. Those
// are not unpacked: it appends them to lists, which [PackText] takes in place of the
// maps of i. Whether anything is wrong with a message that is not plain is not said,
// nor with what else i gets. What is read shares the memory of m.
func ReadPlain(m string, i *rollcall.Instance, lists []byte, l rollcall.Limits) (_ []byte, ok bool) {
	p := plain{s: m, most: l.ValueBytes}
	n := rollcall.Instance{Service: p.text(1), Namespace: p.text(2), Address: p.text(3)}
	lists = p.entries(lists, 4, l.Ports)
	n.Version, n.Node = p.text(5), p.text(6)
	n.Locality = rollcall.Locality{Region: p.text(7), Zone: p.text(8), SubZone: p.text(9)}
	lists = p.entries(lists, 11, l.Capabilities)
	lists = p.entries(lists, 12, l.Metadata)
	if p.tag(13, protowire.VarintType) {
		n.Weight = new(uint16(p.varint(math.MaxUint16)))
	}
	n.Capacity = uint32(p.number(14, math.MaxUint32))
	n.Warmup = rollcall.Duration(p.number(15, math.MaxInt64))
	lease := p.message(16)
	n.Lease.Mode = leaseMode(lease.text(1))
	n.Lease.TTL = rollcall.Duration(lease.number(2, math.MaxInt64))
	n.Lease.RemoveAfter = rollcall.Duration(lease.number(3, math.MaxInt64))
	n.ID = p.text(20)
	*i = n
	return lists, p.done() && lease.done()
}

// PackText returns the id of an instance and, behind it, what [Pack] returns, of one
// whose ports, capabilities and metadata are lists, unless it has them itself.
func PackText(i *rollcall.Instance, lists string) string {
	var buf [512]byte // kept off the heap
	return string(appendInstance(append(buf[:0], i.ID...), i, lists))
}

// plain takes fields off a message in the order in which it is asked for them. Those
// that are not there are zero. What is not written in the shortest way is bad.
type plain struct {
	s    string
	most int // bytes of a value
	bad  bool
}

// done reports whether all was asked for and nothing was bad.
func (p *plain) done() bool { return p.s == "" && !p.bad }

// tag takes a field's tag off, if that is next.
func (p *plain) tag(num protowire.Number, typ protowire.Type) bool {
	t := protowire.EncodeTag(num, typ)
	switch {
	case t < 0x80 && len(p.s) > 0 && p.s[0] == byte(t):
		p.s = p.s[1:]
	case t >= 0x80 && len(p.s) > 1 && p.s[0] == byte(t)|0x80 && p.s[1] == byte(t>>7):
		p.s = p.s[2:]
	default:
		return false
	}
	return true
}

// varint takes a number off, which is bad if it is greater than most.
func (p *plain) varint(most uint64) uint64 {
	n, end := varint(p.s, 0)
	if end < 0 || n > most || end > 1 && p.s[end-1] == 0 {
		p.bad = true
		return 0
	}
	p.s = p.s[end:]
	return n
}

func (p *plain) number(num protowire.Number, most uint64) uint64 {
	if !p.tag(num, protowire.VarintType) {
		return 0
	}
	return p.varint(most)
}

// bytes takes off what has a length.
func (p *plain) bytes(num protowire.Number) (s string, ok bool) {
	if s = p.s; num < 16 && len(s) > 1 && s[0] == byte(num<<3)|byte(protowire.BytesType) && s[1] < 0x80 && int(s[1]) <= len(s)-2 { // as most are
		end := 2 + int(s[1])
		p.s = s[end:]
		return s[2:end], true
	}
	if !p.tag(num, protowire.BytesType) {
		return "", false
	}
	n := p.varint(math.MaxInt64)
	if n > uint64(len(p.s)) {
		p.bad = true
		return "", true
	}
	s, p.s = p.s[:n], p.s[n:]
	return s, true
}

// text takes text off, which is bad if it is not UTF-8.
func (p *plain) text(num protowire.Number) string {
	s, _ := p.bytes(num)
	p.bad = p.bad || !utf8.ValidString(s)
	return s
}

// message takes a message off.
func (p *plain) message(num protowire.Number) (m plain) {
	m.most = p.most
	m.s, _ = p.bytes(num)
	return m
}

// entries takes the entries of a map off and appends them to lists, by name. It is bad
// that there are more than most, or that anything is wrong with one.
func (p *plain) entries(lists []byte, num protowire.Number, most int) []byte {
	var few [fewEntries]named[string] // kept off the heap
	all := few[:0]
	begin := p.s
	for s, ok := p.bytes(num); ok; s, ok = p.bytes(num) {
		e := plain{s: s, most: p.most}
		name := e.entry(num)
		if p.bad = p.bad || !e.done() || len(all) == most; p.bad {
			return lists
		}
		all = append(all, named[string]{name, begin[:len(begin)-len(p.s)]})
		begin = p.s
	}
	byName(all)
	for n := range all {
		p.bad = p.bad || n > 0 && all[n].name == all[n-1].name
		lists = append(lists, all[n].value...)
	}
	return lists
}

// entry reads one of a map, and returns its name.
func (p *plain) entry(num protowire.Number) (name string) {
	name = p.text(1)
	p.bad = p.bad || name == "" || len(name) > rollcall.MaxName
	switch {
	case num == 4:
		p.bad = p.number(2, math.MaxUint16) == 0 || rollcall.CheckName("", name) != nil || p.bad
	case num == 11:
		v := p.message(2)
		v.value()
		p.bad = p.bad || !v.done()
	case p.s != "": // a pair's value, which is left out if it is empty
		value := p.text(2)
		p.bad = p.bad || value == "" || len(value) > p.most
	}
	return name
}

// value reads a capability's value, of which nothing is kept.
func (p *plain) value() {
	if !p.tag(4, protowire.VarintType) {
		p.scalar()
		return
	}
	p.bad = p.varint(1) == 0 || p.bad
	size := 0
	for s, ok := p.bytes(5); ok; s, ok = p.bytes(5) {
		e := plain{s: s, most: p.most}
		size += 1 + e.scalar()
		p.bad = p.bad || !e.done()
	}
	p.bad = p.bad || size > p.most
}

// scalar reads a value that is no list, and returns how long its text is.
func (p *plain) scalar() (size int) {
	before := len(p.s)
	switch {
	case p.tag(1, protowire.VarintType):
		p.varint(1)
	case p.tag(2, protowire.Fixed64Type):
		if len(p.s) < 8 {
			p.bad = true
			break
		}
		n := uint64(fixed32(p.s, 0)) | uint64(fixed32(p.s, 4))<<32
		f := math.Float64frombits(n)
		p.s = p.s[8:]
		p.bad = p.bad || f-f != 0 || f == 0 && n != 0 // not finite, or -0
	default:
		size = len(p.text(3))
		p.bad = p.bad || size > p.most || len(p.s) == before // none of these
	}
	return size
}
