package figures

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/rpc"
)

// T1: at least 250,000 instances a second in batches of 1,000 over gRPC.
var grpcRegister = Figure{
	Name: "grpc-register-batch",
	What: "durable registrations of distinct instances over gRPC, 1,000 per call",
	Rows: []report.Row{{Name: "grpc-register-batch", Unit: "instances", Goals: []report.Goal{report.Rate(250_000)}}},
	Run: func(b *Bench) error {
		const conns, each = 4, 1000
		s, err := b.Start("--grpc", "127.0.0.1:0")
		if err != nil {
			return err
		}
		ids, batch := b.IDs(registerServices), driver.RollcallRegistrations(each)
		l := rpc.Load{
			Method: driver.RollcallRegisterMethod, Conns: conns, Streams: 2 * conns, Unary: true,
			Next: func(dst []byte) []byte { return batch.Append(dst, ids) },
		}
		asked := 0
		l.Check = func(answer []byte) error {
			if asked++; asked%50 != 1 { // to take them all apart would be the generator's wall
				return nil
			}
			return allRegistered(answer, each)
		}
		p := Params{"services": registerServices, "connections": conns, "calls_at_once": l.Streams, "batch": each, "message_bytes": len(l.Next(nil))}
		return b.Interleave("grpc-register-batch", p, rpcSide("rollcall", s, s.GRPC, each, l))
	},
}

func allRegistered(answer []byte, want int) error {
	var m pb.RegisterResponse
	if err := proto.Unmarshal(answer, &m); err != nil {
		return err
	}
	for _, r := range m.Results {
		if r.Error != nil {
			return fmt.Errorf("%s: %s", r.Key.GetId(), r.Error.GetDetail())
		}
	}
	if len(m.Results) != want {
		return fmt.Errorf("%d results of %d", len(m.Results), want)
	}
	return nil
}
