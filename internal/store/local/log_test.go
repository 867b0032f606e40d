package local

import (
	"context"
	"testing"

	"github.com/rollcall-registry/rollcall/internal/store/storetest"
)

var background = context.Background()

// open opens a log that is closed when the test ends.
func open(t testing.TB, dir string, o Options) *Log {
	t.Helper()
	l, err := Open(dir, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestLog(t *testing.T) {
	for _, test := range []struct {
		name    string
		options Options
	}{
		{"Default", Options{}},
		{"SmallSegments", Options{SegmentSize: 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Fixture {
				dir := t.TempDir()
				l := open(t, dir, test.options)
				return storetest.Fixture{
					Log:   l,
					Close: func() { l.Close() },
					Reopen: func() storetest.Log {
						if err := l.Close(); err != nil {
							t.Fatalf("Close: %v", err)
						}
						l = open(t, dir, test.options)
						return l
					},
				}
			})
		})
	}
}
