package balance

import "time"

type kind uint8

const (
	requestArrives kind = iota // at its server
	answerArrives              // at its caller
	probeArrives
	probeReturns
	tenantsChange
	weightsPublished
	happens
)

// event is something that is to happen.
type event struct {
	at   time.Duration
	seq  uint32 // those at the same time come in the order in which they were asked for
	kind kind
	a, b int32 // a request; a caller and a server; a server; an index
	rif  int32
	lat  time.Duration
}

func (e *event) before(f *event) bool { return e.at < f.at || e.at == f.at && e.seq < f.seq }

// queue is a heap of events whose nodes have four children.
type queue struct {
	heap []event
	seq  uint32
}

func (q *queue) push(e event) {
	q.seq++
	e.seq = q.seq
	q.heap = append(q.heap, e)
	i := len(q.heap) - 1
	for i > 0 {
		up := (i - 1) / 4
		if !e.before(&q.heap[up]) {
			break
		}
		q.heap[i] = q.heap[up]
		i = up
	}
	q.heap[i] = e
}

func (q *queue) pop() event {
	top, last := q.heap[0], len(q.heap)-1
	e := q.heap[last]
	q.heap = q.heap[:last]
	if last == 0 {
		return top
	}
	i := 0
	for {
		least, child := -1, 4*i+1
		for c := child; c < min(child+4, last); c++ {
			if least < 0 || q.heap[c].before(&q.heap[least]) {
				least = c
			}
		}
		if least < 0 || !q.heap[least].before(&e) {
			break
		}
		q.heap[i] = q.heap[least]
		i = least
	}
	q.heap[i] = e
	return top
}

// finishes orders servers by when their next request is finished.
type finishes struct {
	at    []time.Duration // of each server
	order []int32
	place []int32
}

const never = time.Duration(1<<63 - 1)

func newFinishes(n int) *finishes {
	f := &finishes{make([]time.Duration, n), make([]int32, n), make([]int32, n)}
	for i := range n {
		f.at[i], f.order[i], f.place[i] = never, int32(i), int32(i)
	}
	return f
}

func (f *finishes) first() (server int32, at time.Duration) { return f.order[0], f.at[f.order[0]] }

func (f *finishes) set(s int32, at time.Duration) {
	f.at[s] = at
	i := f.place[s]
	for i > 0 && at < f.at[f.order[(i-1)/2]] {
		f.move(i, f.order[(i-1)/2])
		i = (i - 1) / 2
	}
	for {
		c := 2*i + 1
		if int(c) >= len(f.order) {
			break
		}
		if int(c)+1 < len(f.order) && f.at[f.order[c+1]] < f.at[f.order[c]] {
			c++
		}
		if f.at[f.order[c]] >= at {
			break
		}
		f.move(i, f.order[c])
		i = c
	}
	f.move(i, s)
}

func (f *finishes) move(i, s int32) { f.order[i], f.place[s] = s, i }
