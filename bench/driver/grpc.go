package driver

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/bench/rpc"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// Methods of Rollcall's API over gRPC.
const (
	RollcallRegisterMethod = "/rollcall.v1.Registry/Register"
	RollcallRenewMethod    = "/rollcall.v1.Registry/Renew"
	RollcallSessionMethod  = "/rollcall.v1.Registry/Session"
	RollcallWatchMethod    = "/rollcall.v1.Registry/Watch"
)

// Messages makes messages of gRPC that hold a number of items, each made of the same
// template.
type Messages struct {
	item wire.Template
	n    int
}

// Append appends a message, as it goes over a stream, with the items that next names.
func (m Messages) Append(dst []byte, next func() (service, id int)) []byte {
	dst = append(dst, 0, 0, 0, 0, 0)
	at := len(dst)
	for range m.n {
		service, id := next()
		dst = m.item.Append(dst, service, id)
	}
	binary.BigEndian.PutUint32(dst[at-4:], uint32(len(dst)-at))
	return dst
}

// messages makes messages whose first field are items like the one that is given, in
// which the numbers stand as in a template's text, but at their full width.
func messages(item proto.Message, n int) Messages {
	text, err := proto.Marshal(item)
	if err != nil {
		panic(err) // our own message: cannot be
	}
	return Messages{wire.ParseFilled(string(protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), text))), n}
}

// RollcallRenewals returns renewals of n leases at a time.
func RollcallRenewals(n int) Messages {
	return messages(&pb.Renewal{Service: "service-" + wire.FilledService, Id: "i-" + wire.FilledID}, n)
}

// RollcallInstance returns what Rollcall is told of an instance in the other figures, with
// a lease of its own.
func RollcallInstance(service, id, lease string) *pb.Instance {
	var i rollcall.Instance
	text := fmt.Sprintf(`{"service":%q,"id":%q,%s%s}`, service, id, about[:len(about)-len(longLease)], lease)
	if err := json.Unmarshal([]byte(text), &i); err != nil {
		panic(err) // our own text: cannot be
	}
	return pb.FromInstance(&i)
}

// RollcallRegistrations returns registrations of n instances at a time.
func RollcallRegistrations(n int) Messages {
	return messages(RollcallInstance("service-"+wire.FilledService, "i-"+wire.FilledID, longLease), n)
}

// News makes messages of a session that register its instance, with another build each time.
type News struct{ instance wire.Template }

// RollcallSessionNews is [RollcallNewsOf] as sessions over gRPC say it.
func RollcallSessionNews() News {
	i := RollcallInstance("service-"+wire.FilledService, "i-0000"+wire.FilledService, `"lease":{"mode":"session"}`)
	for _, p := range i.Metadata {
		if p.Name == "build" {
			p.Value = wire.FilledID
		}
	}
	text, err := proto.Marshal(&pb.SessionRequest{Say: &pb.SessionRequest_Register{Register: i}})
	if err != nil {
		panic(err) // our own message: cannot be
	}
	return News{wire.ParseFilled(string(text))}
}

// Append appends a message, as it goes over a stream, whose ref is the number of the change.
func (n News) Append(dst []byte, service, change int) []byte {
	dst = append(dst, 0, 0, 0, 0, 0)
	at := len(dst)
	dst = protowire.AppendVarint(protowire.AppendTag(dst, 1, protowire.VarintType), uint64(change))
	dst = n.instance.Append(dst, service, change)
	binary.BigEndian.PutUint32(dst[at-4:], uint32(len(dst)-at))
	return dst
}

// RollcallSubscribe returns a subscription of a service as it goes over a stream.
func RollcallSubscribe(number uint64, service string) []byte {
	return Frame(&pb.WatchRequest{Say: &pb.WatchRequest_Subscribe{Subscribe: &pb.Subscribe{
		Subscription: number, Query: &pb.Query{Service: service},
	}}})
}

// Frame returns a message as it goes over a stream.
func Frame(m proto.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err) // our own message: cannot be
	}
	return rpc.Append(nil, b)
}
