package rpc

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/api/rollcall/v1"
)

type renewStream = grpc.BidiStreamingServer[rollcallpb.RenewRequest, rollcallpb.RenewResponse]

// renews answers renewals; "p-9" is nobody.
func renews(s renewStream) error {
	for {
		m, err := s.Recv()
		if err != nil {
			if err == io.EOF {
				return nil
			}
			return err
		}
		a := new(rollcallpb.RenewResponse)
		for _, r := range m.GetRenewals() {
			switch {
			case r.GetId() == "p-9":
				a.Unknown = append(a.Unknown, &rollcallpb.Key{Service: r.GetService(), Id: r.GetId(), Namespace: r.GetNamespace()})
			case r.GetReport().GetNote() == "poison":
				a = &rollcallpb.RenewResponse{Error: &rollcallpb.Error{Kind: "invalid", Detail: "no", Field: "note"}}
			default:
				a.Renewed++
				a.Ttl, a.Revision = int64(15*time.Second), 7
			}
		}
		if err := s.Send(a); err != nil {
			return err
		}
	}
}

func key(id string) rollcall.Key { return rollcall.NewKey("", "payments", id) }

func TestRenew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.renew = renews
		c := f.client(t)
		got, err := c.Renew(t.Context(), key("p-1"), new(rollcall.Report))
		if err != nil || time.Duration(got.TTL) != 15*time.Second || got.Revision != 7 {
			t.Errorf("%+v, %v", got, err)
		}
		_, err = c.Renew(t.Context(), key("p-9"), new(rollcall.Report))
		wantKind(t, err, rollcall.ErrNotFound)
		_, err = c.Renew(t.Context(), key("p-1"), &rollcall.Report{Note: "poison"})
		wantKind(t, err, rollcall.ErrInvalid)
		unknown, err := c.RenewMany(t.Context(), []rollcall.Renew{{Key: key("p-1")}, {Key: key("p-9")}})
		if err != nil || !slices.Equal(unknown, []rollcall.Key{key("p-9")}) || f.streams.Load() != 1 {
			t.Errorf("unknown %v, %v, on %d streams", unknown, err, f.streams.Load())
		}
		f.cut()
		synctest.Wait()
		if _, err := c.Renew(t.Context(), key("p-1"), new(rollcall.Report)); err != nil || f.streams.Load() != 2 {
			t.Errorf("after the stream broke: %v, on %d streams", err, f.streams.Load())
		}
	})
}

// A server that cannot renew now is left for one that may.
func TestRenewalsGoElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := startFake(t), startFake(t)
		first.renew = func(s renewStream) error {
			for {
				if _, err := s.Recv(); err != nil {
					return err
				}
				s.Send(&rollcallpb.RenewResponse{Error: &rollcallpb.Error{Kind: "not-synced", Detail: "not yet"}})
			}
		}
		second.renew = renews
		c := fakes{"first": first, "second": second}.client(t, "", "first", "second")
		for range 3 {
			if _, err := c.Renew(t.Context(), key("p-1"), new(rollcall.Report)); err != nil {
				t.Error(err)
			}
		}
		if n := first.streams.Load(); n != 1 {
			t.Errorf("the first was asked on %d streams", n)
		}
		second.refuse(true)
		second.cut()
		_, err := c.Renew(t.Context(), key("p-1"), new(rollcall.Report))
		wantKind(t, err, rollcall.ErrNotSynced)
	})
}

// What says nothing but that it is there goes together, and whatever else alone:
// an error of one must not be that of others.
func TestRenewalsThatPileUpGoTogether(t *testing.T) {
	r := new(renewals)
	empty := func(id string) *beat {
		return &beat{leases: []*rollcallpb.Renewal{{Service: "payments", Id: id}}, answer: make(chan outcome, 1)}
	}
	saying := empty("p-3")
	saying.alone = true
	beats := []*beat{empty("p-1"), empty("p-9"), saying, empty("p-4")}
	r.waiting = slices.Clone(beats)
	var sent []string
	for m := r.next(); m != nil; m = r.next() {
		ids := ""
		for _, l := range m.GetRenewals() {
			ids += l.GetId() + " "
		}
		sent = append(sent, ids)
	}
	if want := []string{"p-1 p-9 ", "p-3 ", "p-4 "}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
	for range sent {
		if err := r.take(&rollcallpb.RenewResponse{Unknown: []*rollcallpb.Key{{Service: "payments", Id: "p-9"}}}); err != nil {
			t.Fatal(err)
		}
	}
	for n, b := range beats {
		if o := <-b.answer; o.err != nil || len(o.GetUnknown()) != 1 {
			t.Errorf("beat %d is answered with %+v", n, o)
		}
	}
	if err := r.take(new(rollcallpb.RenewResponse)); err == nil {
		t.Error("an answer that nobody waits for is taken")
	}
}

// A connection that is dead without having ended is left before leases are over.
func TestUnansweredRenewalsLeaveTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.renew = func(s renewStream) error {
			if f.streams.Load() == 1 {
				<-s.Context().Done()
				return nil
			}
			return renews(s)
		}
		c := f.client(t)
		began := time.Now()
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := c.Renew(ctx, key("p-1"), new(rollcall.Report))
			cancel()
			if err == nil {
				break
			}
			wantKind(t, err, rollcall.ErrTimeout)
			advance(time.Second)
		}
		if took := time.Since(began); took > 7*time.Second || f.dialled() != 2 {
			t.Errorf("renewed after %v, with %d connections", took, f.dialled())
		}
	})
}

func BenchmarkRenew(b *testing.B) {
	f := startFake(b)
	f.renew = renews
	c := f.client(b)
	for _, at := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", at), func(b *testing.B) {
			b.ReportAllocs()
			var callers sync.WaitGroup
			for n := range at {
				callers.Go(func() {
					id := key(fmt.Sprint("p-", n, "-"))
					for i := n; i < b.N; i += at {
						if _, err := c.Renew(b.Context(), id, new(rollcall.Report)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			callers.Wait()
		})
	}
}
