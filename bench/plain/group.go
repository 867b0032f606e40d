package plain

import "sync"

// Group collects the writers that are waiting and commits their records together.
type Group struct {
	mu      sync.Mutex
	records [][]byte
	acks    []chan error
	wake    chan struct{}
}

// NewGroup returns a group in which nobody waits. Somebody has to run it.
func NewGroup() *Group { return &Group{wake: make(chan struct{}, 1)} }

// Write hands one record over and waits until it is durable. The channel has room for one
// answer; it belongs to the writer, who uses it again and again.
func (g *Group) Write(record []byte, ack chan error) error {
	g.mu.Lock()
	g.records = append(g.records, record)
	g.acks = append(g.acks, ack)
	first := len(g.records) == 1
	g.mu.Unlock()
	if first {
		g.wake <- struct{}{}
	}
	return <-ack
}

// Run commits until Stop.
func (g *Group) Run(commit func([][]byte) error) {
	var records [][]byte
	var acks []chan error
	for range g.wake {
		g.mu.Lock()
		records, g.records = g.records, records[:0]
		acks, g.acks = g.acks, acks[:0]
		g.mu.Unlock()
		err := commit(records)
		for _, ack := range acks {
			ack <- err
		}
	}
}

// Stop ends Run. Nobody may write any more.
func (g *Group) Stop() { close(g.wake) }
