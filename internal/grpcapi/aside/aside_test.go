package aside

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
)

// TestDo: what is done is waited for, each thing by who asked for it, and stacks are used
// again.
func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New()
		defer p.End()
		first, second := make(chan struct{}), make(chan struct{})
		go func() {
			p.Do(func() error { <-first; return nil })
			close(second)
		}()
		synctest.Wait()
		wrong := errors.New("wrong")
		for range 3 {
			if err := p.Do(func() error { return wrong }); err != wrong {
				t.Error(err)
			}
			synctest.Wait()
			if n := p.idle.Load(); n != 1 {
				t.Errorf("%d are idle", n)
			}
		}
		select {
		case <-second:
			t.Error("what was not done was not waited for")
		default:
		}
		close(first)
		<-second
		synctest.Wait()
		if n := p.idle.Load(); n != 2 {
			t.Errorf("%d are idle, want the two that were needed at once", n)
		}
	})
}

// TestMostIdle: not more stacks are kept than a number, however many there were.
func TestMostIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New()
		defer p.End()
		all := make(chan struct{})
		for range 2 * mostIdle {
			go p.Do(func() error { <-all; return nil })
		}
		synctest.Wait()
		close(all)
		synctest.Wait()
		if n := p.idle.Load(); n != mostIdle {
			t.Errorf("%d are idle", n)
		}
	})
}

// TestPanic: who asked panics, and knows where it was; the stack is none the worse.
func TestPanic(t *testing.T) {
	p := New()
	defer p.End()
	defer func() {
		if r, _ := recover().(string); !strings.HasPrefix(r, "boom\n") || !strings.Contains(r, "aside_test.go") {
			t.Errorf("%q", r)
		}
		if err := p.Do(func() error { return nil }); err != nil {
			t.Error(err)
		}
	}()
	p.Do(func() error { panic("boom") })
}

func BenchmarkDo(b *testing.B) {
	p := New()
	defer p.End()
	b.ReportAllocs()
	for b.Loop() {
		p.Do(deep)
	}
}

// BenchmarkNew is the same on a new stack each time.
func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		done := make(chan error)
		go func() { done <- deep() }()
		<-done
	}
}

//go:noinline
func deep() error {
	var b [6 << 10]byte
	for i := 0; i < len(b); i += 512 {
		b[i] = 1
	}
	if b[512] == 0 {
		return errors.New("cannot be")
	}
	return nil
}
