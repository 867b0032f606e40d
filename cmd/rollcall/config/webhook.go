package config

import (
	"errors"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/webhook"
)

// webhooks reads a list of webhooks. What it says of their secrets and URLs does
// not show them.
func (r *reader) webhooks(list *yaml.Node) error {
	if list.Kind != yaml.SequenceNode {
		return r.fail(list, "%s is not a list of webhooks", webhooksKey)
	}
	lines := map[string]int{} // of the names
	for _, n := range list.Content {
		if n.Kind != yaml.MappingNode {
			return r.fail(n, "is not a webhook: name, url, secret or secret-file, services, statuses")
		}
		var h webhook.Hook
		at := map[string]*yaml.Node{}
		if err := r.each(n, func(key, value *yaml.Node) error {
			at[strings.TrimSuffix(key.Value, "-file")] = key
			return r.webhook(&h, key, value)
		}); err != nil {
			return err
		}
		if err := h.Validate(); err != nil {
			node := n
			if e, ok := errors.AsType[*rollcall.Error](err); ok && at[e.Field] != nil {
				node = at[e.Field]
			}
			return r.fail(node, "%v", err)
		}
		if line := lines[h.Name]; line > 0 {
			return r.fail(at["name"], "%q is the name of the webhook in line %d, too", h.Name, line)
		}
		lines[h.Name] = at["name"].Line
		r.file.Webhooks = append(r.file.Webhooks, h)
	}
	return nil
}

// webhook reads one key of a webhook.
func (r *reader) webhook(h *webhook.Hook, key, value *yaml.Node) (err error) {
	switch key.Value {
	case "name":
		return r.text(&h.Name, key, value)
	case "url":
		return r.text(&h.URL, key, value)
	case "secret", "secret-file":
		if h.Secret != "" {
			return r.fail(key, "there are both secret and secret-file; use one")
		}
		if err := r.text(&h.Secret, key, value); err != nil || key.Value == "secret" {
			return err
		}
		b, err := os.ReadFile(h.Secret)
		if err != nil {
			return r.fail(value, "secret-file: %v", err)
		}
		h.Secret = strings.TrimRight(string(b), "\r\n")
		return nil
	case "services":
		h.Services, err = r.texts(key, value)
		return err
	case "statuses":
		names, err := r.texts(key, value)
		for _, name := range names {
			s, err := rollcall.ParseStatus(name)
			if err != nil {
				return r.fail(value, "statuses: %v", err)
			}
			h.Statuses = append(h.Statuses, s)
		}
		return err
	}
	return r.fail(key, "unknown key %q; a webhook has name, url, secret or secret-file, services and statuses", key.Value)
}

func (r *reader) text(to *string, key, value *yaml.Node) error {
	if value.Kind != yaml.ScalarNode || value.Value == "" {
		return r.fail(value, "%s takes a single value", key.Value)
	}
	*to = value.Value
	return nil
}

func (r *reader) texts(key, value *yaml.Node) ([]string, error) {
	if value.Kind != yaml.SequenceNode {
		return nil, r.fail(value, "%s is not a list", key.Value)
	}
	texts := make([]string, len(value.Content))
	for n, c := range value.Content {
		if err := r.text(&texts[n], key, c); err != nil {
			return nil, err
		}
	}
	return texts, nil
}
