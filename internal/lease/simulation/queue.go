package simulation

import "time"

// event is something that is to happen to an instance. Whoever asked for it gets
// it, and can tell by its epoch whether it still cares.
type event struct {
	order int64  // twice the time in nanoseconds, plus the class
	seq   uint32 // those at the same time come in the order in which they were asked for
	epoch uint32
	who   int32
	to    uint8 // which actor
	kind  kind
	n     uint8 // how many attempts came before
	late  bool  // it has waited for a starved process already
}

// class orders what happens at the same time: what a process's clock brings it
// comes before what the network does.
type class int64

const (
	timer class = iota
	network
)

func (e *event) at() time.Duration { return time.Duration(e.order >> 1) }

func (e *event) class() class { return class(e.order & 1) }

func (e *event) before(o *event) bool {
	return e.order < o.order || e.order == o.order && int32(e.seq-o.seq) < 0
}

// queue brings events in order. What is due soon stands in slots by time, and only
// those of one slot are sorted: most events are a beat or a ping away, and there
// are tens of millions of them.
type queue struct {
	seq   uint32
	at    int64 // the slot whose events are in now
	now   heap
	slots [slots][]event
	later heap // beyond the slots
}

const (
	slots     = 2048
	slotShift = 24 // a slot is twice as many nanoseconds, as orders are: 8 ms
)

func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.put(e)
}

func (q *queue) put(e event) {
	switch slot := e.order >> slotShift; {
	case slot <= q.at:
		q.now.push(e)
	case slot < q.at+slots:
		q.slots[slot%slots] = append(q.slots[slot%slots], e)
	default:
		q.later.push(e)
	}
}

func (q *queue) pop() event {
	for len(q.now) == 0 {
		q.at++
		slot := &q.slots[q.at%slots]
		for _, e := range *slot {
			q.now.push(e)
		}
		*slot = (*slot)[:0]
		for len(q.later) > 0 && q.later[0].order>>slotShift < q.at+slots {
			q.put(q.later.pop())
		}
	}
	return q.now.pop()
}

// heap is a heap of events with four children to a node.
type heap []event

func (h *heap) push(e event) {
	*h = append(*h, e)
	q, i := *h, len(*h)-1
	for i > 0 {
		parent := (i - 1) / 4
		if !e.before(&q[parent]) {
			break
		}
		q[i] = q[parent]
		i = parent
	}
	q[i] = e
}

func (h *heap) pop() event {
	q := *h
	n := len(q) - 1
	first, last := q[0], q[n]
	q = q[:n]
	*h = q
	if n == 0 {
		return first
	}
	i := 0
	for {
		least := 4*i + 1
		if least >= n {
			break
		}
		for c := least + 1; c < min(4*i+5, n); c++ {
			if q[c].before(&q[least]) {
				least = c
			}
		}
		if !q[least].before(&last) {
			break
		}
		q[i] = q[least]
		i = least
	}
	q[i] = last
	return first
}

func order(at time.Duration, c class) int64 { return int64(at)<<1 | int64(c) }
