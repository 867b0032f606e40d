// Command worker shares twelve partitions of some work with the other workers. Each
// knows from its copy of the registry who there is, and so which partitions are its
// own; one that crashes, or drains because it is told to end, is taken over from within
// a second. The registry is at ROLLCALL_ADDR.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client"
)

const partitions = 12

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	c, err := client.Dial(os.Getenv("ROLLCALL_ADDR"))
	if err != nil {
		return err
	}
	defer c.Close()
	reg, err := c.Register(ctx, rollcall.Instance{Service: "workers", Address: "127.0.0.1"}, client.WithGrace(10*time.Second))
	if err != nil {
		return err
	}
	peers, err := c.Subscribe(rollcall.Query{Service: "workers"})
	if err != nil {
		return err
	}
	defer peers.Close()

	id := reg.Instance().ID
	for view := peers.View(); ctx.Err() == nil; view = peers.View() {
		if mine := share(view, id); view.Known() {
			fmt.Printf("%s: %d workers, mine are %v\n", id, view.Len(), mine)
		}
		// Here the work on these partitions begins, and that on others ends.
		select {
		case <-peers.Changed(view):
		case <-ctx.Done():
		}
	}
	// The others take over once they know that this one drains; Close waits for that.
	ending, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	return reg.Close(ending)
}

// share returns the partitions of one of the workers.
func share(view *client.View, id string) (mine []int) {
	workers := view.Instances() // by id, the same for all
	at := slices.IndexFunc(workers, func(w rollcall.Instance) bool { return w.ID == id })
	for p := range partitions {
		if at >= 0 && p%len(workers) == at {
			mine = append(mine, p)
		}
	}
	return mine
}
