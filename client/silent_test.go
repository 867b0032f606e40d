package client_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
	"github.com/rollcall-registry/rollcall/internal/rollcalltest"
)

// mute listens, takes all that it is sent, and answers nothing: as a server that
// stands still, or whose network swallows what it says.
func mute(t *testing.T) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var taking sync.WaitGroup
	taking.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); taking.Wait() })
	return l.Addr().String()
}

// TestMuteServer: one that says nothing at all keeps a client from nothing for longer
// than a call may take. The stream of each kind goes to the next server.
func TestMuteServer(t *testing.T) {
	over(t, func(t *testing.T, p protocol) {
		srv := rollcalltest.Start(t)
		scheme, real, ok := strings.Cut(p.address(srv), "://")
		if !ok {
			scheme, real = "http", srv.Addr
		}
		addr := scheme + "://" + mute(t) + "," + scheme + "://" + real
		dial := func() *client.Client {
			c, err := client.Dial(addr, client.WithTimeout(300*time.Millisecond))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for ev, err := range dial().Watch(ctx, rollcall.Query{Service: "web"}) {
			if err != nil || ev.Type != client.EventSnapshot {
				t.Errorf("the watch tells %v, %v", ev.Type, err)
			}
			break
		}
		reg, err := dial().Register(ctx, rollcall.Instance{
			Service: "web", ID: "w", Ports: map[string]uint16{"default": 80}, Lease: rollcall.Lease{Mode: rollcall.LeaseSession},
		}, client.WithGrace(0))
		if err != nil {
			t.Fatal(err)
		}
		if err := reg.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}
