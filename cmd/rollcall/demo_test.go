package main

import "testing"

// Two demos do without each other's ports.
func TestDemoServer(t *testing.T) {
	seen := map[string]bool{}
	for range 2 {
		s, err := demoServer(t.TempDir(), "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if at := s.DNSAddr(); seen[at] || at == "off" {
			t.Errorf("it serves DNS at %s", at)
		}
		seen[s.DNSAddr()] = true
	}
}
