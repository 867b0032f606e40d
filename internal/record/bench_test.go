package record

import (
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// typical returns an instance as services register them.
func typical() rollcall.Instance {
	i := rollcall.Instance{
		Service: "payments", ID: "payments-7f9c", Address: "10.0.3.17",
		Ports: map[string]uint16{"http": 8080, "grpc": 9090}, Version: "2.4.1", Node: "host-17",
		Locality:     rollcall.Locality{Region: "eu-west", Zone: "eu-west-1a", SubZone: "rack-12"},
		Position:     &rollcall.Position{Lat: 52.52, Lon: 13.40},
		Capabilities: map[string]rollcall.Value{"gpu": rollcall.Number(2), "codecs": rollcall.Strings("h264", "av1"), "canary": rollcall.Bool(true)},
		Metadata:     map[string]string{"team": "checkout", "build": "8f14e45fceea167a"},
		Checks:       []rollcall.Check{{Name: "ready", Type: rollcall.CheckTTL, TTL: rollcall.Duration(10 * time.Second)}},
		Origin:       "http",
	}
	i.Normalize()
	return i
}

func entry(changes int) (cs []rollcall.Change) {
	i := typical()
	for range changes {
		cs = append(cs, rollcall.Change{
			At: time.Unix(1_700_000_000, 5).UTC(), By: "anonymous", Via: "http",
			Body: rollcall.InstancePut{Key: i.Key(), Record: Pack(&i)},
		})
	}
	return cs
}

func BenchmarkPack(b *testing.B) {
	for _, bb := range []struct {
		name string
		i    rollcall.Instance
	}{
		{"small", func() rollcall.Instance {
			i := rollcall.Instance{Service: "s", ID: "i", Address: "10.0.0.1", Ports: map[string]uint16{"default": 80}}
			i.Normalize()
			return i
		}()},
		{"typical", typical()},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(Pack(&bb.i))))
			for b.Loop() {
				Pack(&bb.i)
			}
		})
		b.Run(bb.name+"/json", func(b *testing.B) {
			r, key := Pack(&bb.i), bb.i.Key()
			added := Added{Health: rollcall.Health{Status: rollcall.Healthy, Since: time.Unix(1_700_000_000, 5).UTC()}, RegisteredAt: time.Unix(1_700_000_000, 5).UTC()}
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				w := Writer{B: buf}
				w.Append(key, r, &added)
			}
		})
		b.Run(bb.name+"/unpacked json", func(b *testing.B) { // the way round
			r, key := Pack(&bb.i), bb.i.Key()
			buf := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				i, _ := Unpack(key, r)
				i.Health = &rollcall.Health{Status: rollcall.Healthy, Since: time.Unix(1_700_000_000, 5).UTC()}
				i.RegisteredAt = time.Unix(1_700_000_000, 5).UTC()
				i.AppendJSON(buf)
			}
		})
		b.Run(bb.name+"/unpack", func(b *testing.B) {
			r, key := Pack(&bb.i), bb.i.Key()
			b.ReportAllocs()
			b.SetBytes(int64(len(r)))
			for b.Loop() {
				if _, err := Unpack(key, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkFields(b *testing.B) {
	i := typical()
	r := Pack(&i)
	b.Run("Capability", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Capability(r, "gpu")
		}
	})
	b.Run("Metadata", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Metadata(r, "team")
		}
	})
	b.Run("Lease", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Lease(r)
		}
	})
}

func BenchmarkEntry(b *testing.B) {
	cs := entry(1)
	buf := AppendEntry(nil, 7, 0, cs)
	s := string(buf)
	b.Run("Append", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(buf)))
		for b.Loop() {
			buf = AppendEntry(buf[:0], 7, 0, cs)
		}
	})
	b.Run("Parse", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(s)))
		for b.Loop() {
			if _, _, err := ParseEntry(s); err != nil {
				b.Fatal(err)
			}
		}
	})
}
