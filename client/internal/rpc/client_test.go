package rpc

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/api/rollcall/v1"
	"github.com/rollcall-registry/rollcall/client/internal/address"
	"github.com/rollcall-registry/rollcall/client/internal/wire"
)

// answers has f resolve to an answer of a version, or fail.
func (f *fake) answers(revision uint64, err error) *fake {
	f.resolve = func(context.Context, *rollcallpb.ResolveRequest) (*rollcallpb.ResolveResponse, error) {
		return &rollcallpb.ResolveResponse{Revision: revision}, err
	}
	return f
}

func told(kind error) error {
	err, _ := rollcallpb.StatusOf(&rollcall.Error{Kind: kind, Detail: "wait", RetryAfter: 7 * time.Second})
	return err
}

func resolve(t *testing.T, c *Client) (rollcall.Answer, error) {
	return c.Resolve(t.Context(), &rollcall.Query{Service: "payments"})
}

// at returns a client of what really listens at an address.
func at(t *testing.T, addr string) *Client {
	c := New(Config{Servers: []address.Server{{GRPC: true, Host: addr, Name: addr}}, Timeout: 10 * time.Second})
	t.Cleanup(func() { c.Close() })
	return c
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		_, err = resolve(t, at(t, l.Addr().String()))
		wantKind(t, err, wire.ErrUnreachable)
		for _, s := range []string{l.Addr().String(), "(connect: connection refused)", "rollcall serve", "ROLLCALL_ADDR"} {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%q does not say %q", err, s)
			}
		}
	})
	t.Run("another kind of server", func(t *testing.T) {
		s := httptest.NewServer(http.NotFoundHandler())
		defer s.Close()
		_, err := resolve(t, at(t, s.Listener.Addr().String()))
		wantKind(t, err, wire.ErrUnreachable)
		if !strings.Contains(err.Error(), "right address") {
			t.Error(err)
		}
	})
	for name, x := range map[string]struct {
		err  error
		kind error
		says string
	}{
		"another service": {status.Error(codes.Unimplemented, "unknown service rollcall.v1.Registry"), wire.ErrUnreachable, "right address"},
		"a proxy's":       {status.Error(codes.Unavailable, "unexpected HTTP status code received from server: 502 (Bad Gateway)"), wire.ErrUnreachable, "right address"},
		"a reset":         {status.Error(codes.Unavailable, `connection error: desc = "error reading server preface: connection reset by peer"`), wire.ErrUnreachable, "reached at"},
		"a guard's":       {status.Error(codes.Unauthenticated, "no token"), rollcall.ErrUnauthenticated, "no token"},
		"a limit's":       {status.Error(codes.ResourceExhausted, "slow down"), rollcall.ErrTooMany, "slow down"},
		"late":            {status.Error(codes.DeadlineExceeded, "late"), rollcall.ErrTimeout, "did not answer in time"},
		"told":            {told(rollcall.ErrSettling), rollcall.ErrSettling, "wait"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := resolve(t, startFake(t).answers(0, x.err).client(t))
				wantKind(t, err, x.kind)
				if e, ok := errors.AsType[*rollcall.Error](err); !ok || !strings.Contains(err.Error(), x.says) || name == "told" && e.RetryAfter != 7*time.Second {
					t.Errorf("%#v", err)
				}
			})
		})
	}
	t.Run("slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := startFake(t)
			f.resolve = func(ctx context.Context, _ *rollcallpb.ResolveRequest) (*rollcallpb.ResolveResponse, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			began := time.Now()
			_, err := resolve(t, f.client(t))
			wantKind(t, err, rollcall.ErrTimeout)
			if took := time.Since(began); took != 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	})
	t.Run("not text", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, err := startFake(t).client(t).Put(t.Context(), &rollcall.Instance{Service: "s", ID: "\xff"})
			wantKind(t, err, rollcall.ErrInvalid)
		})
	})
}

func TestAnotherServerIsAsked(t *testing.T) {
	for name, x := range map[string]struct {
		down bool
		err  error
		kind error // nil: the second answers
	}{
		"refused":    {down: true},
		"not synced": {err: told(rollcall.ErrNotSynced)},
		"invalid":    {err: told(rollcall.ErrInvalid), kind: rollcall.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first, second := startFake(t).answers(1, x.err), startFake(t).answers(2, nil)
				first.refuse(x.down)
				c := fakes{"first": first, "second": second}.client(t, "", "first", "second")
				for range 2 {
					got, err := resolve(t, c)
					if x.kind != nil {
						wantKind(t, err, x.kind)
					} else if err != nil || got.Revision != 2 {
						t.Errorf("%+v, %v", got, err)
					}
				}
				if first.dialled() != 1 { // it is not asked first again
					t.Errorf("%d connections to the first", first.dialled())
				}
			})
		})
	}
}

// A server that comes back is found soon, and while it is away it is not asked
// more often than that needs, by however many.
func TestServerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t).answers(1, nil)
		f.refuse(true)
		c := f.client(t)
		for range 600 {
			_, err := resolve(t, c)
			wantKind(t, err, wire.ErrUnreachable)
			advance(100 * time.Millisecond)
		}
		if n := f.dialled(); n < 20 || n > 90 {
			t.Errorf("%d attempts in a minute", n)
		}
		f.refuse(false)
		advance(3 * time.Second)
		if _, err := resolve(t, c); err != nil {
			t.Errorf("3 s after it is back: %v", err)
		}
	})
}

// Calls find out by themselves that nobody is there any more.
func TestDeadPeerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t).answers(1, nil)
		c := f.client(t)
		if _, err := resolve(t, c); err != nil {
			t.Fatal(err)
		}
		f.freeze()
		began := time.Now()
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			_, err := c.Resolve(ctx, &rollcall.Query{Service: "payments"})
			cancel()
			if err == nil {
				break
			}
		}
		if took := time.Since(began); took > 15*time.Second || f.dialled() != 2 {
			t.Errorf("answered after %v, with %d connections", took, f.dialled())
		}
	})
}

func TestTokenIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t).answers(1, nil)
		f.renew = renews
		c := fakes{"registry": f}.client(t, "s3cret", "registry")
		if _, err := resolve(t, c); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Renew(t.Context(), key("p-1"), new(rollcall.Report)); err != nil {
			t.Fatal(err)
		}
		for _, md := range f.heard {
			if got := md.Get("authorization"); len(got) != 1 || got[0] != "Bearer s3cret" {
				t.Errorf("authorization: %q", got)
			}
		}
		if len(f.heard) != 2 {
			t.Errorf("%d calls", len(f.heard))
		}
	})
}

func TestClosedClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		f.renew = renews
		f.watch = func(s *watchStream) error { <-s.Context().Done(); return nil }
		c := f.client(t)
		r := watch(t, c, "a")
		if _, err := c.Renew(t.Context(), key("p-1"), new(rollcall.Report)); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Next(); err == nil {
			t.Error("a closed client watches")
		}
		for name, call := range map[string]func() error{
			"resolve": func() error { _, err := resolve(t, c); return err },
			"renew":   func() error { _, err := c.Renew(t.Context(), key("p-1"), new(rollcall.Report)); return err },
			"watch":   func() error { _, err := c.Watch(t.Context(), &rollcall.Query{}, false); return err },
			"session": func() error { _, _, err := c.Open(t.Context(), "", 0); return err },
		} {
			if err := call(); !errors.Is(err, errClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// What became of each of many is told in their order, also of one that is alone
// in its request.
func TestPutMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := startFake(t)
		requests := 0
		f.register = func(_ context.Context, q *rollcallpb.RegisterRequest) (*rollcallpb.RegisterResponse, error) {
			requests++
			a := new(rollcallpb.RegisterResponse)
			for n, i := range q.GetInstances() {
				r := &rollcallpb.Registered{Created: true, Revision: uint64(n + 1)}
				if i.GetVersion() == "poison" {
					if len(q.GetInstances()) == 1 {
						return nil, told(rollcall.ErrInvalid)
					}
					r = &rollcallpb.Registered{Error: &rollcallpb.Error{Kind: "invalid", Field: "version"}}
				}
				a.Results = append(a.Results, r)
			}
			return a, nil
		}
		all := make([]rollcall.Instance, wire.ManyItems+1)
		for n := range all {
			all[n] = rollcall.Instance{Service: "s", ID: string(rune('a' + n))}
		}
		all[1].Version, all[wire.ManyItems].Version = "poison", "poison"
		got, err := f.client(t).PutMany(t.Context(), all)
		if err != nil || len(got) != len(all) || requests != 2 {
			t.Fatalf("%d results in %d requests, %v", len(got), requests, err)
		}
		for n, r := range got {
			if bad := all[n].Version != ""; r.Key != all[n].Key() || errors.Is(r.Err, rollcall.ErrInvalid) != bad || r.Created == bad {
				t.Errorf("%d: %+v", n, r)
			}
		}
	})
}

var _ wire.Protocol = (*Client)(nil)
