package address

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	plain := func(base, name string) Server { return Server{Base: base, Name: name} }
	local := Server{GRPC: true, Host: "127.0.0.1:7071", Name: "127.0.0.1:7071", Base: "http://127.0.0.1:7071"}
	far := Server{GRPC: true, TLS: true, Host: "registry.example:443", Name: "grpcs://registry.example:443", Base: "https://registry.example:443"}
	six := Server{GRPC: true, Host: "[::1]:7071", Name: "[::1]:7071", Base: "http://[::1]:7071"}
	for addr, want := range map[string][]Server{
		"":                            {plain("http://127.0.0.1:7070", "127.0.0.1:7070")},
		"registry":                    {plain("http://registry:7070", "registry:7070")},
		"10.0.0.1:8080":               {plain("http://10.0.0.1:8080", "10.0.0.1:8080")},
		"[::1]":                       {plain("http://[::1]:7070", "[::1]:7070")},
		"https://registry.example/x/": {{Base: "https://registry.example/x", Name: "https://registry.example/x", TLS: true}},
		"a:1, http://b:2":             {plain("http://a:1", "a:1"), plain("http://b:2", "b:2")},
		"http://registry:7071":        {plain("http://registry:7071", "registry:7071")},
		"127.0.0.1:7071":              {local},
		"grpc://127.0.0.1":            {local},
		"grpc://127.0.0.1:7071/":      {local},
		"grpcs://registry.example":    {far},
		"grpc://[::1], [::1]:7071":    {six, six},
		"ftp://registry":              nil,
		"http://user:secret@registry": nil,
		"grpc://user:secret@registry": nil,
		"http://user:sec%ret@reg":     nil,
		":7070":                       nil,
		"a,,b":                        nil,
		"http://registry?x=1":         nil,
		"grpc://registry/x":           nil,
		"a:7070,a:7071":               nil,
		"grpc://a,http://b":           nil,
	} {
		got, err := Parse(addr, "127.0.0.1:7070")
		if (err != nil) != (want == nil) {
			t.Errorf("Parse(%q): %v", addr, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("Parse(%q): %s", addr, d)
		}
	}
}
