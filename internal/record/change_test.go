package record

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
)

func TestChangeRoundTrip(t *testing.T) {
	g := newGenerator(t)
	for range 1500 {
		want := g.change()
		b := AppendChange(nil, &want)
		got, err := ParseChange(string(b))
		if err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("reads back as something else:\n%s", diff)
		}
		if again := AppendChange(nil, &got); string(again) != string(b) {
			t.Fatalf("%+v is written in two ways", want)
		}
		if got, err = ParseChange(string(g.extra(b))); err != nil || !cmp.Equal(want, got) {
			t.Fatalf("with an unknown field %+v becomes %+v, %v", want, got, err)
		}
	}
}

func TestEntryRoundTrip(t *testing.T) {
	g := newGenerator(t)
	for range 150 {
		want := rollcall.Entry{Revision: rollcall.Revision(1 + g.Uint64()>>g.IntN(64)), Changes: []rollcall.Change{}}
		fence := rollcall.Fence(g.IntN(3))
		for range g.IntN(20) {
			c := g.change()
			if g.some() {
				c.Revision = 0 // the entry's
			}
			want.Changes = append(want.Changes, c)
		}
		b := AppendEntry(nil, want.Revision, fence, want.Changes)
		for i := range want.Changes {
			if want.Changes[i].Revision == 0 {
				want.Changes[i].Revision = want.Revision
			}
		}
		got, gotFence, err := ParseEntry(string(g.extra(b)))
		if err != nil || gotFence != fence {
			t.Fatalf("fence %d, %v; want %d", gotFence, err, fence)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("reads back as something else:\n%s", diff)
		}
	}
}

// TestFieldsInAnyOrder reads an entry whose revision comes last, as a writer of
// the schema may put it.
func TestFieldsInAnyOrder(t *testing.T) {
	c := rollcall.Change{Body: rollcall.InstanceRemove{Key: rollcall.NewKey("", "s", "i")}}
	b := appendInt(appendChange(nil, 3, &c), 1, 7)
	e, _, err := ParseEntry(string(b))
	if err != nil || len(e.Changes) != 1 || e.Changes[0].Revision != 7 {
		t.Errorf("%+v, %v; want a change of revision 7", e, err)
	}
}

// TestTimes looks at the edges of what nanoseconds since 1970 can say.
func TestTimes(t *testing.T) {
	last := time.Unix(0, math.MaxInt64).UTC()
	for _, tt := range []struct{ at, want time.Time }{
		{time.Time{}, time.Time{}},
		{time.Unix(0, 1).UTC(), time.Unix(0, 1).UTC()},
		{time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("", 3600)), time.Date(2026, 1, 2, 2, 4, 5, 6, time.UTC)},
		{time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)},
		{last, last},
		{time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), last},
	} {
		c := rollcall.Change{At: tt.at, Body: rollcall.OverridePut{
			Key: rollcall.NewKey("", "s", "i"), Override: &rollcall.Override{Status: rollcall.Healthy, Expires: &tt.at},
		}}
		got, err := ParseChange(string(AppendChange(nil, &c)))
		if err != nil || got.At != tt.want {
			t.Errorf("%v reads back as %v, %v; want %v", tt.at, got.At, err, tt.want)
		}
		if expires := got.Body.(rollcall.OverridePut).Override.Expires; !tt.at.IsZero() && !expires.Equal(tt.want) {
			t.Errorf("expiry at %v reads back as %v; want %v", tt.at, expires, tt.want)
		}
	}
	// An override that expires at 0 must not be one that never does.
	c := rollcall.Change{Body: rollcall.OverridePut{Override: &rollcall.Override{Status: rollcall.Healthy, Expires: new(time.Unix(0, 0))}}}
	if got, err := ParseChange(string(AppendChange(nil, &c))); err != nil || got.Body.(rollcall.OverridePut).Override.Expires == nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	change := func(kind uint64, parts int, body []byte) []byte {
		b := appendInt(nil, 6, kind)
		for range parts {
			b = appendTextAlways(b, 7, "x")
		}
		if body != nil {
			b = appendTextAlways(b, 8, string(body))
		}
		return b
	}
	reason := appendText(nil, 2, "no status")
	for name, b := range map[string][]byte{
		"nothing":                      {},
		"no kind":                      change(0, 3, nil),
		"a kind beyond all":            change(maxKind+1, 1, nil),
		"no key":                       change(100, 0, nil),
		"instance with a short key":    change(kindInstance, 2, nil),
		"instance with a long key":     change(kindInstance, 4, nil),
		"health with a short key":      change(kindHealth, 2, appendInt(nil, 1, 1)),
		"override with a short key":    change(kindOverride, 2, nil),
		"settings with a short key":    change(kindSettings, 1, nil),
		"settings with a long key":     change(kindSettings, 4, nil),
		"health without a body":        change(kindHealth, 3, nil),
		"health without a status":      change(kindHealth, 3, reason),
		"health with status 0":         change(kindHealth, 3, appendIntAlways(nil, 1, 0)),
		"health with status 7":         change(kindHealth, 3, appendInt(nil, 1, 7)),
		"override without a status":    change(kindOverride, 3, reason),
		"override with status 7":       change(kindOverride, 3, appendInt(nil, 1, 7)),
		"half an instance":             change(kindInstance, 3, []byte{0x0a}),
		"half a health":                change(kindHealth, 3, []byte{0x0a}),
		"half an override":             change(kindOverride, 3, []byte{0x0a}),
		"query with a short key":       change(kindQuery, 1, nil),
		"half a query":                 change(kindQuery, 2, []byte{0x0a}),
		"half a split":                 change(kindQuery, 2, []byte{0x32, 1, 0x09}),
		"half a target of a split":     change(kindQuery, 2, []byte{0x32, 3, 0x12, 1, 0x0a}),
		"half a failover target":       change(kindQuery, 2, []byte{0x3a, 1, 0x0a}),
		"half settings":                change(kindSettings, 2, []byte{0x09}),
		"something behind what is all": append(change(kindInstance, 3, nil), 0x0b),
	} {
		if c, err := ParseChange(string(b)); err == nil {
			t.Errorf("%s is taken for %+v", name, c)
		}
		entry := protowire.AppendBytes(protowire.AppendTag([]byte{0x08, 0x07}, 3, protowire.BytesType), b)
		if e, _, err := ParseEntry(string(entry)); err == nil {
			t.Errorf("an entry with %s is taken for %+v", name, e)
		}
	}
	if e, _, err := ParseEntry(string(AppendEntry(nil, 0, 1, nil))); err == nil {
		t.Errorf("an entry without a revision is taken for %+v", e)
	}
}
