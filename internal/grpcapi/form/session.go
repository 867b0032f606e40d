package form

import (
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
)

// Registration takes the instance out of a SessionRequest that registers one, as most
// of those do that are long, and its ref. Other messages are not ok; they are for protobuf.
func Registration(b []byte) (ref uint64, instance []byte, ok bool) {
	for len(b) > 0 {
		f, rest, err := next(b)
		switch {
		case err != nil:
			return 0, nil, false
		case f.num == 1 && f.typ == protowire.VarintType:
			ref = f.n
		case f.num == 3 && f.typ == protowire.BytesType && !ok:
			instance, ok = f.b, true
		default:
			return 0, nil, false
		}
		b = rest
	}
	return ref, instance, ok
}

var readers = sync.Pool{New: func() any { return new(Reader) }}

// Instance decodes an instance and calls do with it; wrong says what of it cannot be taken.
// It is valid until do returns, but for its names, which share the memory of b. An error
// is that of b.
func Instance(b []byte, do func(i *rollcall.Instance, wrong error)) error {
	r := readers.Get().(*Reader)
	defer func() {
		r.forget() // or the pool keeps the message, whose memory all of it shares
		readers.Put(r)
	}()
	return r.one(b, do)
}

// one is [Instance] for who has a reader.
func (r *Reader) one(b []byte, do func(i *rollcall.Instance, wrong error)) error {
	usual, err := r.instance(b)
	switch {
	case err != nil:
		return err
	case usual:
		do(&r.i, nil)
		return nil
	}
	m := new(pb.Instance)
	if err := proto.Unmarshal(b, m); err != nil {
		return err
	}
	i, wrong := m.Domain()
	do(&i, wrong)
	return nil
}
