package figures

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/rpc"
)

// T7: at least 160,000 heartbeats a second over streams of gRPC, one per message, and 1 M
// in batches; and none of them touches the disk. The limit is a bare server of grpc-go that
// sends the same messages back.
var grpcRenew = Figure{
	Name: "grpc-renew",
	What: "heartbeats of 100,000 instances over 64 streams of gRPC: one per message, and 1,000",
	Rows: []report.Row{
		{Name: "grpc-renew", Unit: "renewals", Goals: []report.Goal{report.Rate(160_000), report.Compare("bare-grpc"), report.NoWrites()}},
		{Name: "grpc-renew-batch", Unit: "renewals", Goals: []report.Goal{report.Rate(1_000_000), report.Compare("bare-grpc"), report.NoWrites()}},
	},
	Run: func(b *Bench) error {
		s, err := b.Start("--grpc", "127.0.0.1:0")
		if err != nil {
			return err
		}
		f := fleet{services: 1000, instances: 100_000}
		if err := b.fill(s, f); err != nil {
			return err
		}
		limit, err := b.Child("bare-grpc", "bare-grpc", nil)
		if err != nil {
			return err
		}
		for _, k := range []struct {
			row                   string
			conns, streams, batch int
		}{{"grpc-renew", 4, 64, 1}, {"grpc-renew-batch", 4, 8, fillBatch}} {
			l := rpc.Load{
				Method: driver.RollcallRenewMethod, Conns: k.conns, Streams: k.streams,
				Next: inTurn(driver.RollcallRenewals(k.batch), f, k.batch),
			}
			echo := l
			l.Check = renewed(k.batch)
			p := Params{"services": f.services, "instances": f.instances, "connections": k.conns, "streams": k.streams, "batch": k.batch}
			if err := b.Interleave(k.row, p, rpcSide("rollcall", s, s.GRPC, k.batch, l), rpcSide("bare-grpc", limit, limit.Addr, k.batch, echo)); err != nil {
				return err
			}
		}
		return nil
	},
}

// inTurn makes all messages that name each instance of a fleet once beforehand, and gives
// them in turn.
func inTurn(m driver.Messages, f fleet, each int) func(dst []byte) []byte {
	next := f.turn()
	all := make([][]byte, f.instances/each)
	for i := range all {
		all[i] = m.Append(nil, next)
	}
	i := 0
	return func(dst []byte) []byte {
		i = (i + 1) % len(all)
		return append(dst, all[i]...)
	}
}

// renewed returns a check that so many leases were renewed. Short answers begin with the
// number, which is looked at alone.
func renewed(want int) func([]byte) error {
	number, _ := proto.Marshal(&pb.RenewResponse{Renewed: uint32(want)})
	return func(answer []byte) error {
		if len(answer) >= len(number) && string(answer[:len(number)]) == string(number) {
			return nil
		}
		return fmt.Errorf("not renewed: %q", answer)
	}
}

// rpcSide returns a side that loads the address of a server with messages, each standing
// for per operations.
func rpcSide(name string, s Server, addr string, per int, l rpc.Load) Side {
	l.Addr = addr
	return Side{name, func(w load.Window) (report.Sample, error) {
		return s.watch(w, func(w load.Window) (report.Sample, error) {
			l.Window = w
			r, err := l.Run()
			if err != nil {
				return report.Sample{}, err
			}
			return report.Of(r, per), nil
		})
	}}
}
