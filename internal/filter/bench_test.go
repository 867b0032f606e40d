package filter

import (
	"fmt"
	"strings"
	"testing"
)

const example = `cap.gpu >= 2 && "av1" in cap.codecs && semver(version) >= semver("2.3.0")`

// selecting is what names in DNS select by.
const selecting = `lower(version) == %q || cap.exists(k, lower(k) == %q && cap[k] != false)`

func BenchmarkMatch(b *testing.B) {
	for _, bb := range []struct{ name, text string }{
		{"comparison", `cap.gpu >= 2`},
		{"example", example},
		{"equality", `cap.gpu == 2`},
		{"text equality", `meta.team == "checkout"`},
		{"membership", `"av1" in cap.codecs`},
		{"health", `health == "healthy"`},
		{"load", `load.utilization < 0.7`},
		{"semver", `semver(version) >= semver("2.3.0")`},
		{"missing", `cap.tpu >= 2`},
		{"loop", `cap.codecs.exists(c, c == "av1")`},
		{"lower", `lower(version) == "2.4.1"`},
		{"selection", fmt.Sprintf(selecting, "canary", "canary")},
		{"no selection", fmt.Sprintf(selecting, "x", "x")},
		{"pattern", `id.matches("^pay.*c$")`},
	} {
		f, err := Compile(bb.text)
		if err != nil {
			b.Fatal(err)
		}
		s := typical()
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.Match(s)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	b.Run("example", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Compile(example); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("example/cached", func(b *testing.B) {
		c := NewCache(10)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Compile(example); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("wrong", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Compile("cap.gpu >= 2 && cpu > 2"); err == nil {
				b.Fatal("compiled")
			}
		}
	})
	b.Run("the longest", func(b *testing.B) {
		text := strings.Repeat(`cap.gpu == 2 && `, maxText/16-1) + "true"
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Compile(text); err != nil {
				b.Fatal(err)
			}
		}
	})
}
