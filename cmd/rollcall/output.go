package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/rollcall-registry/rollcall/cmd/rollcall/table"
)

// format returns what --output says, and whether that is JSON.
func format(cmd *cobra.Command) (asJSON bool, err error) {
	switch f, _ := cmd.Flags().GetString("output"); f {
	case "table":
		return false, nil
	case "json":
		return true, nil
	default:
		return false, usagef("--output %q is neither table nor json", f)
	}
}

// document prints one JSON document.
func (e *env) document(v any) error {
	enc := json.NewEncoder(e.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// line prints one JSON document on a line of its own.
func (e *env) line(v any) error {
	enc := json.NewEncoder(e.out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table begins a table on standard output.
func (e *env) table(header ...string) *table.Table { return table.New(e.out, header...) }
