// Package config reads the configuration file of serve: settings, which are
// flags by another name, static services, webhooks and subnets. It is strict: what
// it does not know is an error, with the line it stands in.
package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/dnsapi/place"
	"github.com/rollcall-registry/rollcall/internal/webhook"
)

// Keys under which lists stand; all others are names of flags.
const (
	servicesKey = "services"
	webhooksKey = "webhooks"
	subnetsKey  = "subnets"
)

// File is what a configuration file holds beside settings.
type File struct {
	Static   []rollcall.Instance
	Webhooks []webhook.Hook
	Subnets  []place.Subnet
}

// Error is a mistake in a file, or in its name.
type Error struct{ text string }

// Error implements error.
func (e Error) Error() string { return e.text }

func errorf(format string, args ...any) error { return Error{fmt.Sprintf(format, args...)} }

// reader reads one file.
type reader struct {
	name  string
	flags *pflag.FlagSet
	file  File
}

func (r *reader) fail(n *yaml.Node, format string, args ...any) error {
	return errorf("%s:%d: %s", r.name, n.Line, fmt.Sprintf(format, args...))
}

// Read reads a YAML file, and sets from it those flags that have not been set
// yet. What is wrong with it is an [Error].
func Read(name string, flags *pflag.FlagSet) (File, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, errorf("--config %s: there is no such file", name)
	}
	if err != nil {
		return File{}, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return File{}, errorf("%s: %v", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) == 0 {
		return File{}, nil // an empty file
	}
	r := reader{name: name, flags: flags}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return File{}, r.fail(top, "is not a mapping of settings, like \"http: 127.0.0.1:7070\"")
	}
	err = r.each(top, r.top)
	return r.file, err
}

// each calls do for each key of a mapping.
func (r *reader) each(m *yaml.Node, do func(key, value *yaml.Node) error) error {
	seen := map[string]bool{}
	for i := 0; i < len(m.Content); i += 2 {
		key := m.Content[i]
		if seen[key.Value] {
			return r.fail(key, "%q stands there twice", key.Value)
		}
		seen[key.Value] = true
		if err := do(key, m.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// top reads one key of the file.
func (r *reader) top(key, value *yaml.Node) (err error) {
	f := r.flags.Lookup(key.Value)
	switch {
	case key.Value == servicesKey:
		return r.instances(value)
	case key.Value == webhooksKey:
		return r.webhooks(value)
	case key.Value == subnetsKey:
		return r.subnets(value)
	case f == nil || f.Name == "config" || f.Name == "help":
		return r.fail(key, "unknown key %q; known are %s, %s, %s and %s", key.Value, strings.Join(settings(r.flags), ", "), servicesKey, webhooksKey, subnetsKey)
	case value.Kind != yaml.ScalarNode:
		return r.fail(value, "%s takes a single value", key.Value)
	case !f.Changed:
		if err := r.flags.Set(f.Name, value.Value); err != nil {
			return r.fail(value, "%s: %v", key.Value, err)
		}
	}
	return nil
}

// settings lists the flags that a configuration file may set.
func settings(flags *pflag.FlagSet) []string {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "config" && f.Name != "help" {
			names = append(names, f.Name)
		}
	})
	return names
}

// instances reads a list of instances in their JSON shape, written as YAML.
func (r *reader) instances(list *yaml.Node) error {
	if list.Kind != yaml.SequenceNode {
		return r.fail(list, "%s is not a list of instances", servicesKey)
	}
	for _, n := range list.Content {
		var x any
		plainTimes(n)
		if err := n.Decode(&x); err != nil {
			return r.fail(n, "%v", err)
		}
		b, err := json.Marshal(x)
		if err != nil {
			return r.fail(n, "%v", err)
		}
		inst, err := DecodeInstance(b)
		if err != nil {
			return r.fail(culprit(n, err), "%v", err)
		}
		if inst.ID == "" {
			return r.fail(n, "id is required, so that it is the same instance after a restart")
		}
		r.file.Static = append(r.file.Static, inst)
	}
	return nil
}

// plainTimes makes text of what YAML would read as a time, such as the version
// 2026-01-31.
func plainTimes(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!timestamp" {
		n.Tag = "!!str"
	}
	for _, c := range n.Content {
		plainTimes(c)
	}
}

// culprit returns the node that a decoding error is about, n if it does not
// say.
func culprit(n *yaml.Node, err error) *yaml.Node {
	var name string
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		name = e.Field[strings.LastIndexByte(e.Field, '.')+1:]
	} else if _, field, ok := strings.Cut(err.Error(), "unknown field "); ok {
		name = strings.Trim(field, `"`)
	}
	if at := find(n, name); at != nil && name != "" {
		return at
	}
	return n
}

// find returns the first key of the given name in n.
func find(n *yaml.Node, name string) *yaml.Node {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 && c.Value == name {
			return c
		}
		if at := find(c, name); at != nil {
			return at
		}
	}
	return nil
}

// DecodeInstance reads the JSON form of an instance, in which "port" is short
// for a single port. Unknown fields are errors.
func DecodeInstance(b []byte) (rollcall.Instance, error) {
	var x struct {
		rollcall.Instance
		Port *uint16 `json:"port"`
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&x); err != nil {
		return rollcall.Instance{}, fmt.Errorf("it is not an instance in JSON: %w", err)
	}
	if dec.More() {
		return rollcall.Instance{}, fmt.Errorf("it holds more than one JSON document")
	}
	if x.Port != nil {
		if len(x.Ports) > 0 {
			return rollcall.Instance{}, fmt.Errorf("it has both \"port\" and \"ports\"; use one")
		}
		x.Ports = map[string]uint16{rollcall.DefaultPort: *x.Port}
	}
	return x.Instance, nil
}
