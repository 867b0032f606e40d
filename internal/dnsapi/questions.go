package dnsapi

import "hash/maphash"

// questions is what a handler remembers, by the question. It is a table with linear
// probing, at most half full, instead of a map because one can look into it for many
// questions at a time: see [questions.fetch].
type questions struct {
	seed  maphash.Seed
	slots []slot // a power of two
	n     int
	hand  int // where the next one is looked for that has to go
	ahead []*known
}

type slot struct {
	hash  uint64
	known *known // nil: free
}

func newQuestions() questions { return questions{seed: maphash.MakeSeed(), slots: make([]slot, 8)} }

func (t *questions) hash(key []byte) uint64 { return maphash.Bytes(t.seed, key) }

// get returns what is known of a question, nil if that is nothing.
func (t *questions) get(hash uint64, key []byte) *known {
	for at := hash; ; at++ {
		s := &t.slots[at&uint64(len(t.slots)-1)]
		if s.known == nil || s.hash == hash && s.known.question == string(key) {
			return s.known
		}
	}
}

// put remembers what is not there yet, and forgets any other if there are so many.
func (t *questions) put(hash uint64, key []byte, k *known, most int) {
	for t.n >= most {
		t.hand = (t.hand + 1) % len(t.slots)
		t.remove(uint64(t.hand))
	}
	if 2*t.n >= len(t.slots) {
		old := t.slots
		t.slots = make([]slot, 2*len(old))
		for _, s := range old {
			if s.known != nil {
				t.place(s)
			}
		}
	}
	k.question = string(key)
	t.place(slot{hash, k})
	t.n++
}

func (t *questions) place(s slot) {
	at := s.hash
	for t.slots[at&uint64(len(t.slots)-1)].known != nil {
		at++
	}
	t.slots[at&uint64(len(t.slots)-1)] = s
}

// remove empties a slot. Those behind it that were not where they belong are placed anew.
func (t *questions) remove(at uint64) {
	mask := uint64(len(t.slots) - 1)
	if t.slots[at].known == nil {
		return
	}
	t.slots[at] = slot{}
	t.n--
	for at = (at + 1) & mask; t.slots[at].known != nil; at = (at + 1) & mask {
		s := t.slots[at]
		t.slots[at] = slot{}
		t.place(s)
	}
}

// fewQuestions is how many a processor's cache has room for, with all that belongs to them.
const fewQuestions = 2048

// fetch touches what is known of questions, and returns nothing of use. Looked for one
// after the other, each would be waited for several times: the table, what it points to,
// and what that points to lie all over a memory that is larger than any cache. Here
// those of many questions are on their way at once.
//
//go:noinline
func (t *questions) fetch(hashes []uint64) (sum uint64) {
	t.ahead = t.ahead[:0]
	for _, hash := range hashes {
		if k := t.slots[hash&uint64(len(t.slots)-1)].known; k != nil {
			t.ahead = append(t.ahead, k)
		}
	}
	for _, k := range t.ahead { // its first bytes, and the last that are looked at
		sum += uint64(len(k.question)) + k.last.at + uint64(len(k.last.service.Service))
	}
	for _, k := range t.ahead {
		q, l := k.question, &k.last
		if sum += uint64(q[0]) + uint64(q[len(q)-1]); len(l.set) > 0 && l.keeping != nil {
			sum += uint64(l.set[0]) + uint64(l.set[len(l.set)-1]) + l.keeping.Fetch()
		}
	}
	return sum
}

// Expect implements [socket.Expecter].
func (h *handler) Expect(queries [][]byte) {
	if h.known.n < fewQuestions {
		return
	}
	h.hashes = h.hashes[:0]
	for _, raw := range queries {
		h.q.raw, h.q.key = raw, h.q.key[:0]
		if h.q.question() {
			h.hashes = append(h.hashes, h.known.hash(h.q.key))
		}
	}
	h.known.fetch(h.hashes)
}
