// Package form decodes by hand the messages of the gRPC API that come by the
// thousand, straight into what the registry takes. What is decoded shares the
// message's memory, which is nobody else's.
package form

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// field is one decoded field of a message: n for numbers, b for anything that has
// a length, sharing the memory of what was parsed.
type field struct {
	num protowire.Number
	typ protowire.Type
	n   uint64
	b   []byte
}

var errNumber = errors.New("a field's number is too great")

// next takes the first field off b. An error is that of [protowire], or errNumber.
func next(b []byte) (f field, rest []byte, err error) {
	if len(b) > 1 && b[0]|b[1] < 0x80 && b[0] >= 1<<3 && b[0]&7 == byte(protowire.BytesType) && int(b[1]) <= len(b)-2 { // as most are
		end := 2 + int(b[1])
		return field{num: protowire.Number(b[0] >> 3), typ: protowire.BytesType, b: b[2:end:end]}, b[end:], nil
	}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return f, nil, protowire.ParseError(n)
	}
	if num > protowire.MaxValidNumber { // as protowire does not mind, but protobuf
		return f, nil, errNumber
	}
	f.num, f.typ, b = num, typ, b[n:]
	switch typ {
	case protowire.VarintType:
		f.n, n = protowire.ConsumeVarint(b)
	case protowire.BytesType:
		f.b, n = protowire.ConsumeBytes(b)
	case protowire.Fixed64Type:
		f.n, n = protowire.ConsumeFixed64(b)
	default:
		n = protowire.ConsumeFieldValue(num, typ, b)
	}
	if n < 0 {
		return f, nil, protowire.ParseError(n)
	}
	return f, b[n:], nil
}

// text returns a field's text, which shares the message's memory.
func (f *field) text(to *string) error {
	if f.typ != protowire.BytesType {
		return nil // as one that is not known
	}
	if !utf8.Valid(f.b) {
		return errUTF8
	}
	*to = share(f.b)
	return nil
}

// share returns b as text in the same memory.
func share(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// duration sets one, unless the field is none.
func (f *field) duration(to *rollcall.Duration) {
	if f.typ == protowire.VarintType {
		*to = rollcall.Duration(f.n)
	}
}

var errUTF8 = &rollcall.Error{Kind: rollcall.ErrInvalid, Detail: "text is not UTF-8"}

// Count returns how many messages a repeated field of a message holds, before they
// are decoded: an empty one is far smaller than what becomes of it.
func Count(b []byte, num protowire.Number) (n int, err error) {
	for len(b) > 0 {
		var f field
		if f, b, err = next(b); err != nil {
			return 0, err
		}
		if f.num == num && f.typ == protowire.BytesType {
			n++
		}
	}
	return n, nil
}

// Conditional reports whether a RegisterRequest, which Count has found to be well
// formed, has a condition.
func Conditional(b []byte) (match bool) {
	for len(b) > 0 {
		var f field
		if f, b, _ = next(b); f.num == 2 && f.typ == protowire.VarintType {
			match = f.n != 0
		}
	}
	return match
}

// Each calls do for each message of a repeated field of a message, until one is an
// error.
func Each(b []byte, num protowire.Number, do func([]byte) error) (err error) {
	for len(b) > 0 {
		var f field
		if f, b, err = next(b); err != nil {
			return err
		}
		if f.num != num || f.typ != protowire.BytesType {
			continue
		}
		if err := do(f.b); err != nil {
			return err
		}
	}
	return nil
}

// Reader decodes registrations one by one, into an instance whose maps it uses
// again. Plain ones it does not unpack; what usual ones have it reads by itself; others
// it leaves to protobuf.
type Reader struct {
	Limits rollcall.Limits // of what is plain; zero: nothing with entries is

	i        rollcall.Instance
	lists    []byte
	weight   uint16
	ports    map[string]uint16
	metadata map[string]string
	// capabilities, and room for the elements of one that is a list.
	capabilities map[string]rollcall.Value
	elements     []rollcall.Value
}

// Instances calls do for each instance of a RegisterRequest that holds many, of which
// each may have most bytes. The instance is valid until do returns, but for its names,
// which share the memory of b, and so are the lists that stand for its maps if it is
// plain, see [record.ReadPlain]; wrong says what of it cannot be taken. An error is one
// of the whole message.
func (r *Reader) Instances(b []byte, most int, do func(i *rollcall.Instance, lists string, wrong error)) (err error) {
	return Each(b, 1, func(b []byte) error {
		if len(b) > most {
			i, err := names(b)
			do(&i, "", &rollcall.Error{Kind: rollcall.ErrTooLarge, Detail: fmt.Sprintf("the instance has %d bytes; %d are the limit", len(b), most)})
			return err
		}
		var plain bool
		if r.lists, plain = record.ReadPlain(share(b), &r.i, r.lists[:0], r.Limits); plain {
			do(&r.i, share(r.lists), nil)
			return nil
		}
		return r.one(b, func(i *rollcall.Instance, wrong error) { do(i, "", wrong) })
	})
}

// names decodes no more of an instance than what it is called.
func names(b []byte) (i rollcall.Instance, err error) {
	for len(b) > 0 && err == nil {
		var f field
		if f, b, err = next(b); err != nil {
			break
		}
		switch f.num {
		case 1:
			err = f.text(&i.Service)
		case 2:
			err = f.text(&i.Namespace)
		case 20:
			err = f.text(&i.ID)
		}
	}
	return i, err
}

// usual reports whether a field of an instance is one that is decoded here, or that
// nobody knows. A known one of another type is none to protobuf; it says what that means.
func (f *field) usual() bool {
	switch n := f.num; {
	case n == 19, n > 28:
		return true
	case n == 10, n == 17, n > 20: // what is seldom, or not of a registration
		return false
	case n >= 13 && n <= 15:
		return f.typ == protowire.VarintType
	}
	return f.typ == protowire.BytesType
}

// instance decodes one into r.i. It is not usual if it has what is left to protobuf,
// or if that may say that something is wrong with it.
func (r *Reader) instance(b []byte) (usual bool, err error) {
	if r.ports == nil {
		r.ports, r.metadata, r.capabilities = map[string]uint16{}, map[string]string{}, map[string]rollcall.Value{}
	}
	r.forget()
	i := &r.i
	for len(b) > 0 {
		var f field
		if f, b, err = next(b); err != nil || !f.usual() {
			return false, err
		}
		usual = true
		switch f.num {
		case 1:
			err = f.text(&i.Service)
		case 2:
			err = f.text(&i.Namespace)
		case 3:
			err = f.text(&i.Address)
		case 4:
			usual, err = r.port(f.b)
		case 5:
			err = f.text(&i.Version)
		case 6:
			err = f.text(&i.Node)
		case 7:
			err = f.text(&i.Locality.Region)
		case 8:
			err = f.text(&i.Locality.Zone)
		case 9:
			err = f.text(&i.Locality.SubZone)
		case 11:
			usual, err = r.capability(f.b)
		case 12:
			usual, err = r.pair(f.b)
		case 13:
			r.weight, usual = uint16(f.n), f.n <= math.MaxUint16
			i.Weight = &r.weight
		case 14:
			i.Capacity = uint32(f.n)
		case 15:
			i.Warmup = rollcall.Duration(f.n)
		case 16:
			err = lease(f.b, &i.Lease)
		case 18:
			err = f.text(&i.Origin)
		case 20:
			err = f.text(&i.ID)
		}
		if err != nil || !usual {
			return false, err
		}
	}
	if len(r.ports) > 0 {
		i.Ports = r.ports
	}
	if len(r.capabilities) > 0 {
		i.Capabilities = r.capabilities
	}
	if len(r.metadata) > 0 {
		i.Metadata = r.metadata
	}
	return true, nil
}

// forget lets go of the instance that was decoded last, and of all that has its memory.
func (r *Reader) forget() {
	clear(r.ports)
	clear(r.capabilities)
	clear(r.metadata)
	r.none()
	r.i = rollcall.Instance{}
}

// none lets go of the elements of the list that was decoded last: as many as that had,
// for a long one may come before many short ones.
func (r *Reader) none() {
	clear(r.elements)
	r.elements = r.elements[:0]
}

func (r *Reader) port(b []byte) (usual bool, err error) {
	name, n, err := pair(b, nil)
	if _, again := r.ports[name]; err != nil || again || n > math.MaxUint16 {
		return false, err
	}
	r.ports[name] = uint16(n)
	return true, nil
}

func (r *Reader) pair(b []byte) (usual bool, err error) {
	var value string
	name, _, err := pair(b, &value)
	if _, again := r.metadata[name]; err != nil || again {
		return false, err
	}
	r.metadata[name] = value
	return true, nil
}

// capability decodes one. It is not usual if protobuf's way may say that something is
// wrong with it.
func (r *Reader) capability(b []byte) (usual bool, err error) {
	var name string
	var value []byte
	values := 0
	for len(b) > 0 {
		var f field
		if f, b, err = next(b); err != nil {
			return false, err
		}
		switch f.num {
		case 1:
			if err := f.text(&name); err != nil {
				return false, err
			}
		case 2:
			value = f.b
			values++
		}
	}
	if _, again := r.capabilities[name]; again || values != 1 {
		return false, nil
	}
	v, usual, err := r.value(value)
	r.capabilities[name] = v
	return usual, err
}

// value decodes a value, which is usual if it is of one kind.
func (r *Reader) value(b []byte) (v rollcall.Value, usual bool, err error) {
	kinds, list := 0, false
	r.none()
	for len(b) > 0 {
		var f field
		if f, b, err = next(b); err != nil {
			return v, false, err
		}
		switch {
		case f.num == 4 && f.typ == protowire.VarintType:
			list, usual = f.n != 0, true
			kinds++
		case f.num == 5 && f.typ == protowire.BytesType && len(f.b) > 0:
			e, more, err := next(f.b)
			if err != nil || len(more) > 0 {
				return v, false, err
			}
			var element rollcall.Value
			element, usual, err = scalar(e)
			if err != nil {
				return v, false, err
			}
			r.elements = append(r.elements, element)
		default:
			v, usual, err = scalar(f)
			kinds++
		}
		if !usual || err != nil {
			return v, false, err
		}
	}
	switch {
	case list:
		v = rollcall.List(r.elements...)
	case len(r.elements) > 0 || v.Kind() == rollcall.KindNone:
		return v, false, nil
	}
	return v, kinds == 1, nil
}

// scalar makes a value of the field that says which it is.
func scalar(f field) (v rollcall.Value, usual bool, err error) {
	switch {
	case f.num == 1 && f.typ == protowire.VarintType:
		return rollcall.Bool(f.n != 0), true, nil
	case f.num == 2 && f.typ == protowire.Fixed64Type:
		return rollcall.Number(math.Float64frombits(f.n)), true, nil
	case f.num == 3 && f.typ == protowire.BytesType:
		var text string
		err := f.text(&text)
		return rollcall.String(text), err == nil, err
	}
	return v, false, nil
}

// pair decodes a name and what it has: text, if that is asked for, or a number.
func pair(b []byte, value *string) (name string, n uint64, err error) {
	for len(b) > 0 {
		var f field
		if f, b, err = next(b); err != nil {
			return "", 0, err
		}
		switch {
		case f.num == 1:
			err = f.text(&name)
		case f.num == 2 && value != nil:
			err = f.text(value)
		case f.num == 2 && f.typ == protowire.VarintType:
			n = uint64(uint32(f.n))
		}
		if err != nil {
			return "", 0, err
		}
	}
	return name, n, nil
}

func lease(b []byte, l *rollcall.Lease) (err error) {
	for len(b) > 0 {
		var f field
		if f, b, err = next(b); err != nil {
			return err
		}
		switch f.num {
		case 1:
			if err = f.text((*string)(&l.Mode)); err != nil {
				return err
			}
		case 2:
			f.duration(&l.TTL)
		case 3:
			f.duration(&l.RemoveAfter)
		}
	}
	return nil
}
