package filter

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

func compiled(t *testing.T, c *Cache, text string) *Filter {
	t.Helper()
	f, err := c.Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestCache(t *testing.T) {
	c := NewCache(2)
	a, b := compiled(t, c, "id == 'a'"), compiled(t, c, "id == 'b'")
	if compiled(t, c, "id == 'a'") != a || compiled(t, c, "id == 'b'") != b {
		t.Error("compiled again")
	}
	compiled(t, c, "id == 'a'")
	compiled(t, c, "id == 'c'")
	if compiled(t, c, "id == 'a'") != a {
		t.Error("the one that was used went")
	}
	if compiled(t, c, "id == 'b'") == b {
		t.Error("the one that was not used stayed")
	}
}

func TestCacheOfFailures(t *testing.T) {
	c := NewCache(2)
	a := compiled(t, c, "id == 'a'")
	_, first := c.Compile("nothing")
	if _, again := c.Compile("nothing"); first == nil || again != first {
		t.Errorf("%v, then %v", first, again)
	}
	for n := range 10 {
		if _, err := c.Compile(fmt.Sprintf("nothing%d", n)); !errors.Is(err, rollcall.ErrInvalid) {
			t.Fatal(err)
		}
	}
	if compiled(t, c, "id == 'a'") != a {
		t.Error("failures drove out a filter")
	}
	if len(c.failed.byText) != 2 || c.failed.order.Len() != 2 {
		t.Errorf("%d failures are kept", len(c.failed.byText))
	}
	if _, err := c.Compile(strings.Repeat("x", maxText+1)); !errors.Is(err, rollcall.ErrInvalid) {
		t.Fatal(err)
	}
	for text := range c.failed.byText {
		if len(text) > maxText {
			t.Error("a text that is too long is kept")
		}
	}
}

func TestCacheOfLongTexts(t *testing.T) {
	c := NewCache(20)
	for n := range 20 {
		compiled(t, c, fmt.Sprintf("id == '%s%d'", strings.Repeat("x", 1000), n))
	}
	if n := len(c.good.byText); n == 0 || n > 5 || c.good.bytes > 20*meanText {
		t.Errorf("%d texts of 1,000 bytes, %d in all", n, c.good.bytes)
	}
	compiled(t, NewCache(1), strings.Repeat("id == 'a' || ", 300)+"true") // longer than all may be
}

func TestCacheAtOnce(t *testing.T) {
	c := NewCache(3)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for i := range 50 {
				text := fmt.Sprintf("weight == %d", (n+i)%5)
				if f, err := c.Compile(text); err != nil || f.Text() != text {
					t.Errorf("%s: %v, %v", text, f, err)
				}
				if _, err := c.Compile(text + " &&"); err == nil {
					t.Error("no failure")
				}
			}
		})
	}
	wg.Wait()
}
