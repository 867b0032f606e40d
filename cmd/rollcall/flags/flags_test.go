package flags

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/rollcall-registry/rollcall"
)

func readQuery(t *testing.T, in string, args ...string) (rollcall.NamedQuery, error) {
	t.Helper()
	var x NamedQuery
	f := pflag.NewFlagSet("put", pflag.ContinueOnError)
	x.Add(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return x.Read(strings.NewReader(in), f)
}

func TestNamedQuery(t *testing.T) {
	all := []string{
		"--service", "pay", "--filter", "cap.ok", "--near", "zone:a/b", "--split", `90%: version == "1:2"`, "--split", "10",
		"--failover", "dr", "--failover", "eu/pay", "--min-routable", "2", "--limit", "3", "--subset-size", "4",
	}
	want := rollcall.NamedQuery{
		Service: "pay", Filter: "cap.ok", Near: "zone:a/b", MinRoutable: 2, Limit: 3, SubsetSize: 4,
		Split:    []rollcall.Split{{Percent: 90, QueryTarget: rollcall.QueryTarget{Filter: `version == "1:2"`}}, {Percent: 10}},
		Failover: []rollcall.QueryTarget{{Service: "dr"}, {Namespace: "eu", Service: "pay"}},
	}
	got, err := readQuery(t, "", all...)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	// Flags go before what a file says, and leave the rest of it.
	file := filepath.Join(t.TempDir(), "q.json")
	const text = `{"name":"x","service":"y","filter":"z","split":[{"percent":100}],"failover":[{"service":"f"}],"min_routable":7,"revision":3}`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	want.Name, want.Revision = "x", 3
	got, err = readQuery(t, "", append(all, "--file", file)...)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	got, err = readQuery(t, text, "--file", "-", "--filter", "")
	if err != nil || got.Filter != "" || got.Service != "y" || len(got.Split) != 1 || len(got.Failover) != 1 || got.MinRoutable != 7 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNamedQueryMistakes(t *testing.T) {
	var wrong Error
	for _, s := range []string{"", "all", ":version", "a10"} {
		if _, err := readQuery(t, "", "--split", s); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "PERCENT") {
			t.Errorf("--split %q: %v", s, err)
		}
	}
	for in, says := range map[string]string{
		"": "not a named query", "[]": "not a named query", `{"nam":1}`: `"nam"`, `{}{}`: "more than one", `{"split":[{"weight":1}]}`: `"weight"`,
	} {
		if _, err := readQuery(t, in, "--file", "-"); err == nil || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), "-: ") {
			t.Errorf("%q: %v", in, err)
		}
	}
	if _, err := readQuery(t, "", "--file", filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
