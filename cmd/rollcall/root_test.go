package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// typed runs a command line in this process and returns its status and output.
func typed(t *testing.T, vars map[string]string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	e := &env{in: strings.NewReader(""), out: &out, err: &err, getenv: func(name string) string { return vars[name] }}
	status = e.run(t.Context(), args)
	return status, out.String(), err.String()
}

func TestEveryVerbTeaches(t *testing.T) {
	root := newRoot(&env{getenv: func(string) string { return "" }})
	for _, c := range root.Commands() {
		if c.Example == "" || c.Short == "" {
			t.Errorf("%s has no example or no short help", c.Name())
		}
		for line := range strings.Lines(c.Example) {
			checkExample(t, root, c.Name(), line)
		}
		for _, below := range c.Commands() {
			if below.Short == "" || below.Args == nil {
				t.Errorf("%s has no short help, or takes whatever comes", below.CommandPath())
			}
			for line := range strings.Lines(below.Example) {
				checkExample(t, root, c.Name(), line)
			}
		}
	}
}

// The help says which verbs talk to no server, and those are all.
func TestHelpSaysWhoTalksToTheServer(t *testing.T) {
	root := newRoot(&env{getenv: func(string) string { return "" }})
	said := regexp.MustCompile(`(?s)Verbs other than (.*?)\stalk\sto`).FindStringSubmatch(root.Long)
	if said == nil {
		t.Fatal(root.Long)
	}
	silent := strings.FieldsFunc(strings.ReplaceAll(said[1], " and ", ","), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
	for _, c := range root.Commands() {
		if c.Hidden {
			continue
		}
		talks := c.Flags().Lookup("addr") != nil
		for _, below := range c.Commands() {
			talks = below.Flags().Lookup("addr") != nil
		}
		if talks == slices.Contains(silent, c.Name()) {
			t.Errorf("%s talks to a server: %v; the help says other than %q", c.Name(), talks, silent)
		}
	}
}

// checkExample parses an example's flags, so that none tells of one that is
// not there.
func checkExample(t *testing.T, root *cobra.Command, verb, line string) {
	t.Helper()
	_, rest, ok := strings.Cut(line, "rollcall "+verb)
	if !ok {
		return
	}
	cmd, _, err := root.Find(append([]string{verb}, strings.Fields(rest)...))
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsSeq(rest) {
		if word == "--" || strings.ContainsAny(word, "$)|>") {
			break
		}
		name, long := strings.CutPrefix(word, "--")
		name, _, _ = strings.Cut(name, "=")
		if long && cmd.Flags().Lookup(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
			t.Errorf("an example of %s has --%s, which is no flag: %s", verb, name, line)
		}
	}
}

func TestTokenIsSentAndNeverShown(t *testing.T) {
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"type":"/problems/unauthenticated","status":401,"detail":"the token is not known"}`)
	}))
	defer s.Close()
	vars := map[string]string{"ROLLCALL_ADDR": s.URL, "ROLLCALL_TOKEN": "s3cret"}
	for _, verb := range [][]string{
		{"status"}, {"services"}, {"instances"}, {"events"}, {"watch"}, {"resolve", "x"}, {"drain", "x", "y"},
		{"query", "list"}, {"query", "get", "x"}, {"query", "put", "x", "--service", "y"}, {"query", "delete", "x"},
		{"deregister", "x", "y"}, {"register", "x", "--once"}, {"backup", "-"},
	} {
		got = ""
		status, stdout, stderr := typed(t, vars, verb...)
		if got != "Bearer s3cret" {
			t.Errorf("%v sent the credentials %q", verb, got)
		}
		if status != exitFailed || !strings.Contains(stderr, "put a token into ROLLCALL_TOKEN") {
			t.Errorf("%v: status %d, %q", verb, status, stderr)
		}
		if strings.Contains(stdout+stderr, "s3cret") {
			t.Errorf("%v shows the token: %q %q", verb, stdout, stderr)
		}
	}
	if _, _, help := typed(t, vars); strings.Contains(help, "s3cret") {
		t.Error("the help shows the token")
	}
}

// No token helps one who calls the server by a name that it does not go by.
func TestForeignHostIsNoMatterOfTokens(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"type":"/problems/forbidden","status":403,"detail":"call it as localhost","field":"Host"}`)
	}))
	defer s.Close()
	status, _, stderr := typed(t, map[string]string{"ROLLCALL_ADDR": s.URL}, "status")
	if status != exitFailed || !strings.Contains(stderr, "call it as localhost") || strings.Contains(stderr, "TOKEN") {
		t.Errorf("status %d, %q", status, stderr)
	}
}
