package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/place"
	"github.com/rollcall-registry/rollcall/internal/webhook"
)

// read reads a file of the given text. Secret files are beside it.
func read(t *testing.T, text string) (File, *pflag.FlagSet, error) {
	t.Helper()
	dir := t.TempDir()
	name := filepath.Join(dir, "rollcall.yaml")
	for file, text := range map[string]string{
		name: strings.ReplaceAll(text, "DIR", dir), filepath.Join(dir, "secret"): "from a file of its own\n", filepath.Join(dir, "empty"): "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	flags.String("http", "default", "")
	flags.String("data-dir", "default", "")
	flags.String("config", "", "")
	if err := flags.Set("data-dir", "given"); err != nil {
		t.Fatal(err)
	}
	f, err := Read(name, flags)
	return f, flags, err
}

func TestRead(t *testing.T) {
	f, flags, err := read(t, `
http: 127.0.0.1:1
data-dir: /var/lib/rollcall
services:
  - {service: printer, id: p-1, address: 10.0.3.17, port: 631, version: 2026-01-31}
webhooks:
  - name: pager
    url: https://pager.example.com/a?b=c
    secret: 0123456789012345
    services: [payments, team/db]
    statuses: [unhealthy, healthy]
  - name: all
    url: http://all.example.com
    secret-file: DIR/secret
subnets:
  - {cidr: 10.1.0.0/16, near: zone:eu-west/eu-west-1a}
  - cidr: 2001:db8::/32
    near: 52.5,13.4
`)
	if err != nil {
		t.Fatal(err)
	}
	want := File{
		Static: []rollcall.Instance{{
			Service: "printer", ID: "p-1", Address: "10.0.3.17", Ports: map[string]uint16{"default": 631}, Version: "2026-01-31",
		}},
		Webhooks: []webhook.Hook{
			{
				Name: "pager", URL: "https://pager.example.com/a?b=c", Secret: "0123456789012345",
				Services: []string{"payments", "team/db"}, Statuses: []rollcall.Status{rollcall.Unhealthy, rollcall.Healthy},
			},
			{Name: "all", URL: "http://all.example.com", Secret: "from a file of its own"},
		},
		Subnets: []place.Subnet{
			{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Near: "zone:eu-west/eu-west-1a"},
			{Prefix: netip.MustParsePrefix("2001:db8::/32"), Near: "52.5,13.4"},
		},
	}
	if diff := cmp.Diff(want, f, cmp.AllowUnexported(rollcall.Instance{}), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if http, dir := flags.Lookup("http").Value.String(), flags.Lookup("data-dir").Value.String(); http != "127.0.0.1:1" || dir != "given" {
		t.Errorf("http %s, data-dir %s; the file goes behind what was given", http, dir)
	}
	if f, _, err := read(t, ""); err != nil || f.Static != nil || f.Webhooks != nil {
		t.Errorf("an empty file: %+v, %v", f, err)
	}
}

// TestMistakes are told with their line, and without secrets.
func TestMistakes(t *testing.T) {
	const good = "webhooks:\n  - name: pager\n    url: https://example.com/?t0ps3cret\n    secret: 0123456789t0ps3cret\n"
	for text, want := range map[string]string{
		"- a":                               ":1: is not a mapping",
		"http: a\nhttp: b":                  `:2: "http" stands there twice`,
		"config: a":                         `:1: unknown key "config"; known are data-dir, http, services, webhooks and subnets`,
		"http: [a]":                         ":1: http takes a single value",
		"services: {}":                      ":1: services is not a list",
		"services:\n  - id: a\n    prot: 1": ":3: it is not an instance",
		"subnets: {}":                       ":1: subnets is not a list of networks",
		"subnets:\n  - 10.0.0.0/8":          ":2: is not a subnet: cidr and near",
		"subnets:\n  - near: zone:a/b":      ":2: cidr is required: a subnet is written like",
		"subnets:\n  - cidr: 10.0.0.0/8":    ":2: near is required",
		"subnets:\n  - near: zone:a/b\n    cdir: 10.0.0.0/8":                                                    `:3: unknown key "cdir"; a subnet has cidr and near`,
		"subnets:\n  - near: zone:a/b\n    cidr: 10.0.0.0":                                                      `:3: cidr: "10.0.0.0" is not a network: write it like`,
		"subnets:\n  - near: zone:a/b\n    cidr: 10.0.0.1/8":                                                    `:3: cidr: 10.0.0.1/8 is an address in the network 10.0.0.0/8`,
		"subnets:\n  - near: zone:a/b\n    cidr: [10.0.0.0/8]":                                                  `:3: cidr takes a single value`,
		"subnets:\n  - cidr: 10.0.0.0/8\n    near: Berlin":                                                      `:3: near: "Berlin" `,
		"subnets:\n  - cidr: 10.0.0.0/8\n    near: \"\"":                                                        `:3: near takes a single value`,
		"subnets:\n  - {cidr: 10.0.0.0/8, near: zone:a/b}\n  - near: zone:a/c\n    cidr: 10.0.0.0/8\n":          `:4: 10.0.0.0/8 is the network in line 2, too`,
		"subnets:\n  - {cidr: 10.0.0.0/8, near: zone:a/b}\n  - {near: zone:a/c, cidr: \"::ffff:10.0.0.0/104\"}": `:3: 10.0.0.0/8 is the network in line 2, too`,
		"webhooks: {}":                                                            ":1: webhooks is not a list of webhooks",
		"webhooks:\n  - pager":                                                    ":2: is not a webhook",
		"webhooks:\n  - name: a":                                                  ":2: url: is required",
		good + "    sercet: t0ps3cret\n":                                          `:5: unknown key "sercet"; a webhook has name`,
		good + "    secret: t0ps3cret\n":                                          `:5: "secret" stands there twice`,
		good + "    secret-file: DIR/secret\n":                                    ":5: there are both",
		good + "    services: payments\n":                                         ":5: services is not a list",
		good + "    services: [pay ments]\n":                                      ":5: services: \"pay ments\"",
		good + "    services: [[a]]\n":                                            ":5: services takes a single value",
		good + "    statuses: [healthy, well]\n":                                  `:5: statuses: "well" is not a status`,
		good + "    statuses: healthy\n":                                          ":5: statuses is not a list",
		good + good[len("webhooks:\n"):]:                                          `:5: "pager" is the name of the webhook in line 2, too`,
		"webhooks:\n  - url: ftp://t0ps3cret\n    name: a\n":                      ":2: url: must begin with http",
		"webhooks:\n  - url: http://a:t0ps3cret@b\n    name: a\n":                 ":2: url: has credentials",
		"webhooks:\n  - url: http://a\n    name: a b\n":                           ":3: name: \"a b\"",
		"webhooks:\n  - url: http://a\n    name: a\n":                             ":2: secret: has 0 bytes",
		"webhooks:\n  - url: http://a\n    name: a\n    secret: t0ps3cret\n":      ":4: secret: has 9 bytes",
		"webhooks:\n  - url: http://a\n    name: a\n    secret: [t0ps3cret]\n":    ":4: secret takes a single value",
		"webhooks:\n  - url: http://a\n    name: a\n    secret-file: DIR/empty\n": ":4: secret: has 0 bytes",
		"webhooks:\n  - url: http://a\n    name: a\n    secret-file: DIR/none\n":  ":4: secret-file: open ",
	} {
		_, _, err := read(t, text)
		if _, ok := errors.AsType[Error](err); !ok || !strings.Contains(err.Error(), "rollcall.yaml"+want) {
			t.Errorf("%s\n%v; want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "t0ps3cret") {
			t.Errorf("%v shows the secret", err)
		}
	}
	_, err := Read(filepath.Join(t.TempDir(), "none"), nil)
	if _, ok := errors.AsType[Error](err); !ok {
		t.Errorf("no file: %v", err)
	}
	_, err = Read(t.TempDir(), nil)
	if _, ok := errors.AsType[Error](err); ok || err == nil {
		t.Errorf("a directory: %v, which is no mistake in the file", err)
	}
}
