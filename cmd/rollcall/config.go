package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/rollcall-registry/rollcall"
)

// servicesKey is the key of a configuration file under which static services
// stand; all others are names of flags.
const servicesKey = "services"

// readConfig sets flags that have not been set yet from a YAML file, and
// returns the instances that stand in it.
func readConfig(name string, flags *pflag.FlagSet) ([]rollcall.Instance, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("--config %s: there is no such file", name)
	}
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, usagef("%s: %v", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) == 0 {
		return nil, nil // an empty file
	}
	top := doc.Content[0]
	fail := func(n *yaml.Node, format string, args ...any) error {
		return usagef("%s:%d: %s", name, n.Line, fmt.Sprintf(format, args...))
	}
	if top.Kind != yaml.MappingNode {
		return nil, fail(top, "is not a mapping of settings, like \"http: 127.0.0.1:7070\"")
	}
	var instances []rollcall.Instance
	seen := map[string]bool{}
	for i := 0; i < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		f := flags.Lookup(key.Value)
		switch {
		case seen[key.Value]:
			return nil, fail(key, "%q stands there twice", key.Value)
		case key.Value == servicesKey:
			if instances, err = readInstances(value, fail); err != nil {
				return nil, err
			}
		case f == nil || f.Name == "config" || f.Name == "help":
			return nil, fail(key, "unknown key %q; known are %s and %s", key.Value, strings.Join(settings(flags), ", "), servicesKey)
		case value.Kind != yaml.ScalarNode:
			return nil, fail(value, "%s takes a single value", key.Value)
		case !f.Changed:
			if err := flags.Set(f.Name, value.Value); err != nil {
				return nil, fail(value, "%s: %v", key.Value, err)
			}
		}
		seen[key.Value] = true
	}
	return instances, nil
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

// readInstances reads a list of instances in their JSON shape, written as YAML.
func readInstances(list *yaml.Node, fail func(*yaml.Node, string, ...any) error) ([]rollcall.Instance, error) {
	if list.Kind != yaml.SequenceNode {
		return nil, fail(list, "%s is not a list of instances", servicesKey)
	}
	var instances []rollcall.Instance
	for _, n := range list.Content {
		var x any
		plainTimes(n)
		if err := n.Decode(&x); err != nil {
			return nil, fail(n, "%v", err)
		}
		b, err := json.Marshal(x)
		if err != nil {
			return nil, fail(n, "%v", err)
		}
		inst, err := decodeInstance(b)
		if err != nil {
			return nil, fail(culprit(n, err), "%v", err)
		}
		if inst.ID == "" {
			return nil, fail(n, "id is required, so that it is the same instance after a restart")
		}
		instances = append(instances, inst)
	}
	return instances, nil
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
