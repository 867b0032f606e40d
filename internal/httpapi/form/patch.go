package form

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rollcall-registry/rollcall"
)

// Patch is a merge patch (RFC 7396) of an instance.
type Patch struct{ members map[string]any }

// Patch reads a patch of the instance with a key, which it cannot change.
func (d *Decoder) Patch(key rollcall.Key) (p Patch, _ error) {
	err := d.whole(func() error {
		tree, err := d.tree()
		if err != nil {
			return err
		}
		var ok bool
		if p.members, ok = tree.(map[string]any); !ok {
			return rollcall.Invalid("", "the body must be a JSON object, a merge patch of the instance")
		}
		return nil
	})
	if err != nil {
		return p, err
	}
	for name, is := range map[string]string{"namespace": key.Namespace, "service": key.Service, "id": key.ID} {
		if v, ok := p.members[name]; ok && !says(v, is, name != "id") {
			return p, rollcall.Invalid(name, "cannot be changed; register the instance anew and deregister this one")
		}
		delete(p.members, name)
	}
	if port, ok := p.members["port"]; ok {
		if _, both := p.members["ports"]; both {
			return p, bothPorts()
		}
		p.members["ports"] = map[string]any{rollcall.DefaultPort: port}
		delete(p.members, "port")
	}
	return p, nil
}

// Apply merges the patch into the JSON of i. If that fails, i is as it was.
func (p Patch) Apply(i *rollcall.Instance) error {
	var d Decoder
	d.Begin(i.AppendJSON(nil))
	tree, err := d.tree()
	if err != nil {
		return err
	}
	doc, err := json.Marshal(merge(tree, p.members))
	if err != nil {
		return err
	}
	d.Begin(doc)
	var merged rollcall.Instance
	if err := d.Instance(&merged); err != nil {
		return err
	}
	*i = merged
	return nil
}

// says reports whether a JSON value is the string s.
func says(v any, s string, fold bool) bool {
	raw, ok := v.(jsontext.Value)
	if !ok || raw.Kind() != '"' {
		return false
	}
	is := string(unquoted(raw))
	return is == s || fold && strings.EqualFold(is, s)
}

// merge is MergePatch of RFC 7396.
func merge(target, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	t, ok := target.(map[string]any)
	if !ok {
		t = map[string]any{}
	}
	for name, v := range p {
		if raw, ok := v.(jsontext.Value); ok && raw.Kind() == 'n' {
			delete(t, name)
			continue
		}
		t[name] = merge(t[name], v)
	}
	return t
}

// tree reads any value: an object as a map, everything else as it is.
func (d *Decoder) tree() (any, error) {
	if d.json.PeekKind() != '{' {
		v, err := d.json.ReadValue()
		if err != nil {
			return nil, d.syntax(err)
		}
		return jsontext.Value(bytes.Clone(v)), nil
	}
	if d.json.StackDepth() >= maxDepth {
		return nil, d.fail(fmt.Sprintf("nests deeper than %d levels", maxDepth))
	}
	m := map[string]any{}
	err := d.object(func(name string) (err error) {
		m[name], err = d.tree()
		return err
	})
	return m, err
}
