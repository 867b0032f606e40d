package dnsapi

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/rollcall-registry/rollcall/internal/dnsapi/answer"
)

// TestQuestions: the table is a map, until there are too many; then some are forgotten,
// and never one that was just remembered.
func TestQuestions(t *testing.T) {
	const most = 300
	table, r := newQuestions(), rand.New(rand.NewPCG(1, 2))
	all := map[string]*known{}
	var hashes []uint64
	for range 20_000 {
		key := []byte(fmt.Sprint(r.IntN(1000)))
		hash := table.hash(key)
		hashes = append(hashes, hash)
		k := table.get(hash, key)
		switch was := all[string(key)]; {
		case k != nil && k != was:
			t.Fatalf("%s: another one", key)
		case k == nil && was != nil && len(all) < most:
			t.Fatalf("%s is forgotten of %d", key, len(all))
		case k == nil:
			k = &known{last: last{set: answer.Set{1}}}
			all[string(key)] = k
			if table.put(hash, key, k, most); table.get(hash, key) != k {
				t.Fatalf("%s is not there", key)
			}
		}
		if table.n > most {
			t.Fatalf("%d are remembered", table.n)
		}
	}
	kept := 0
	for key, k := range all {
		if got := table.get(table.hash([]byte(key)), []byte(key)); got == k {
			kept++
		}
	}
	if kept != most || table.n != most {
		t.Errorf("%d are remembered, of which %d are found; want %d", table.n, kept, most)
	}
	table.fetch(hashes)
}
