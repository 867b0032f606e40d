package grpcapi_test

import (
	"runtime"
	"strings"
	"testing"
	"unsafe"
	"weak"

	"google.golang.org/protobuf/proto"

	"github.com/rollcall-registry/rollcall"
	pb "github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/internal/grpcapi"
)

// sat opens a session that is a fake one to the core.
func sat(t *testing.T, s *fakeSession) sitting {
	t.Helper()
	c, _, stop := inMemory(t, &fakeCore{session: s}, grpcapi.Options{})
	t.Cleanup(stop)
	stream, err := c.Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	st := sitting{stream, t}
	st.open("")
	return st
}

func (st sitting) register(i *pb.Instance) {
	st.t.Helper()
	st.say(&pb.SessionRequest{Ref: 1, Say: &pb.SessionRequest_Register{Register: i}})
	if m := st.hear(); m.GetRegistered() == nil {
		st.t.Fatal(m)
	}
}

// TestNamesOutliveTheirMessage: the names of an instance, which stay for as long as it
// does, are outside of the message that they came in.
func TestNamesOutliveTheirMessage(t *testing.T) {
	i := &pb.Instance{Service: "payments", Namespace: "prod", Id: "p-1", Address: "10.0.0.7", Node: "node-7"}
	b, err := proto.Marshal(&pb.SessionRequest{Ref: 1, Say: &pb.SessionRequest_Register{Register: i}})
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) int { return int(uintptr(unsafe.Pointer(unsafe.StringData(s)))) }
	s := newFakeSession()
	s.takes = func(got *rollcall.Instance) {
		begin := at(got.Node) - strings.Index(string(b), i.Node)
		if at(got.Address) != begin+strings.Index(string(b), i.Address) {
			t.Error("what is read does not share the memory of its message")
		}
		for _, name := range []string{got.Service, got.Namespace, got.ID} {
			if n := at(name) - begin; n >= 0 && n < len(b) {
				t.Errorf("%q is at byte %d of the message", name, n)
			}
		}
	}
	sat(t, s).register(i)
}

// TestSessionKeepsNoMoreThanKeys: of what a registration is answered with, a session
// keeps nothing that is a part of more.
func TestSessionKeepsNoMoreThanKeys(t *testing.T) {
	for name, id := range map[string]string{"the client's id": "p-1", "the registry's id": ""} {
		t.Run(name, func(t *testing.T) {
			var more weak.Pointer[byte]
			s := newFakeSession()
			s.takes = func(i *rollcall.Instance) {
				text := make([]byte, 1<<20)
				n := copy(text, "p-1")
				i.ID, more = unsafe.String(&text[0], n), weak.Make(&text[0])
			}
			st := sat(t, s)
			st.register(&pb.Instance{Service: "payments", Id: id, Address: "10.0.0.7"})
			for range 10 {
				if runtime.GC(); more.Value() == nil {
					return
				}
			}
			t.Error("the text that the id is a part of stays alive")
		})
	}
}

// TestRegistrationIsASignOfLife: it counts as any other message does.
func TestRegistrationIsASignOfLife(t *testing.T) {
	s := newFakeSession()
	st := sat(t, s)
	st.register(instance("p-1"))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alive != 1 {
		t.Errorf("%d signs of life, want one", s.alive)
	}
}
