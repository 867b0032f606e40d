package figures

import (
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/rollcall-registry/rollcall/bench/child"
)

// serveEcho is the role of a bare server of grpc-go: each message of a stream goes back as
// it came, without being looked at.
func serveEcho([]byte) (any, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := grpc.NewServer(grpc.ForceServerCodecV2(asIs{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		for {
			var m mem.BufferSlice
			if err := stream.RecvMsg(&m); err != nil {
				return err
			}
			if err := stream.SendMsg(m); err != nil {
				return err
			}
		}
	}))
	child.Ready(ln.Addr().String())
	return nil, s.Serve(ln)
}

// asIs leaves messages as they are.
type asIs struct{}

func (asIs) Name() string { return "as-is" }

func (asIs) Marshal(v any) (mem.BufferSlice, error) {
	return v.(mem.BufferSlice), nil
}

func (asIs) Unmarshal(data mem.BufferSlice, v any) error {
	data.Ref()
	*v.(*mem.BufferSlice) = data
	return nil
}
