package catalog

import (
	"fmt"
	"testing"
)

func TestMemosOfAViewAreBounded(t *testing.T) {
	v := &View{shared: &shared{budget: memos{limit: 1 << 20}}}
	builds := 0
	plain := func() { v.Memo("plain", func() []byte { builds++; return nil }) }
	for n := range 1000 {
		plain()
		plain()
		v.Memo(fmt.Sprint("made up ", n), func() []byte { return make([]byte, 10) })
	}
	if n := len(*v.memos.Load()); n > memosPerView || builds != 1 {
		t.Errorf("%d memos, want at most %d; what is in use was built %d times", n, memosPerView, builds)
	}
	b := &v.shared.budget
	if b.drop(v); b.bytes != 0 || b.queue.Len() != 0 {
		t.Errorf("%d bytes of a view that is gone", b.bytes)
	}
}

func TestMemoIsBounded(t *testing.T) {
	all := &shared{budget: memos{limit: 1000 + 5*(overhead-128)}}
	b := &all.budget
	views := make([]*View, 20)
	for i := range views {
		views[i] = &View{shared: all}
	}
	builds := map[*View]int{}
	get := func(v *View) { v.Memo("k", func() []byte { builds[v]++; return make([]byte, 72) }) }
	for round := range 3 {
		if round == 1 {
			clear(builds) // by now it is full
		}
		for _, v := range views {
			get(v)
			get(v)
			get(views[0]) // in use all the time, so it stays
		}
	}
	if b.bytes > b.limit {
		t.Errorf("%d bytes are kept, %d are allowed", b.bytes, b.limit)
	}
	if n := builds[views[0]]; n != 0 {
		t.Errorf("what is in use all the time was built %d times", n)
	}
	for _, v := range views[10:] {
		if builds[v] < 2 {
			t.Errorf("what is not in use was built %d times: it must have been dropped in between", builds[v])
		}
	}
	// What is asked for once drives out nobody.
	before := b.bytes
	for range 100 {
		get(&View{shared: all})
	}
	if _, kept := views[0].Kept("k"); !kept || b.bytes != before {
		t.Errorf("%d bytes are kept after others were asked for once, %d before", b.bytes, before)
	}
}
