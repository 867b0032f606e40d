package grpcapi

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
)

// codec is protobuf, but for messages that the door encodes or decodes itself.
type codec struct{}

// Name implements encoding.CodecV2.
func (codec) Name() string { return "proto" }

// in is a message that comes in. It is only taken as it is by the codec: whoever
// receives it says what is wrong with it, because gRPC would call that an error of
// its own.
type in struct {
	most   int                // bytes
	decode func([]byte) error // nil: what was received is wanted as it is
	raw    []byte             // nobody else's, and never changed
	large  int                // its bytes, if there are too many
}

// decoded decodes what was received.
func (m *in) decoded() error {
	if m.large > 0 {
		return tooLarge(m.large, m.most)
	}
	if m.decode == nil {
		return nil
	}
	return m.decode(m.raw)
}

func tooLarge(size, most int) error {
	return &rollcall.Error{Kind: rollcall.ErrTooLarge, Detail: fmt.Sprintf("the message has %d bytes; %d are the limit here", size, most)}
}

// done decodes what was received and does it.
func (m *in) done(do func() error) error {
	if err := m.decoded(); err != nil {
		return err
	}
	return do()
}

// encoded is a message that is encoded already. It must not be changed.
type encoded []byte

// told is a record of a watch: what all are told who watch alike, behind the
// number of one's own subscription, as it is encoded.
type told struct {
	subscription mem.Buffer
	record       []byte
}

// Unmarshal implements encoding.CodecV2.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*in)
	if !ok {
		b := data.MaterializeToBuffer(mem.DefaultBufferPool())
		defer b.Free()
		return proto.Unmarshal(b.ReadOnlyData(), v.(proto.Message))
	}
	if m.large = 0; data.Len() > m.most {
		m.large = data.Len()
		return nil
	}
	m.raw = data.Materialize()
	return nil
}

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case encoded:
		return mem.BufferSlice{mem.SliceBuffer(m)}, nil
	case *told:
		return mem.BufferSlice{m.subscription, mem.SliceBuffer(m.record)}, nil
	}
	b, err := proto.Marshal(v.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}

// decoder returns what decodes a message of the API.
func decoder(m proto.Message) func([]byte) error {
	return func(b []byte) error {
		if err := proto.Unmarshal(b, m); err != nil {
			return undecodable(m.ProtoReflect().Descriptor().Name(), err)
		}
		return nil
	}
}

func undecodable[S ~string](name S, err error) error {
	return &rollcall.Error{Kind: rollcall.ErrInvalid, Detail: fmt.Sprintf("the message is no %s of rollcall.proto: %v", name, err), Cause: err}
}
