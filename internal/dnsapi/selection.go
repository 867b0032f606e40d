package dnsapi

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/rollcall-registry/rollcall/internal/catalog"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// errNobody says that a service is there, but has nobody whom a name could select.
var errNobody = errors.New("none routable that is selected")

// selection returns the expression that instances meet which have a version or a
// capability of a name, which is in lower case; "" for "".
func selection(name string) string {
	if name == "" {
		return ""
	}
	q := strconv.Quote(name)
	return "lower(version) == " + q + " || cap.exists(k, lower(k) == " + q + " && cap[k] != false)"
}

// selectable reports whether a name is that of a version or a capability of anybody in
// a view. Names that somebody made up are not compiled, nor is each instance looked at
// for them: of a big service that takes as long as a thousand answers.
func selectable(v *catalog.View, name string) bool {
	names := v.Memo("dns names", func() []byte { return namesIn(v) })
	return bytes.Contains(names, []byte("\x00"+name+"\x00"))
}

// namesIn returns what instances can be selected by, in lower case, with a zero byte on
// either side of each.
func namesIn(v *catalog.View) []byte {
	b := []byte{0}
	seen := map[string]bool{}
	add := func(s string) {
		if !seen[s] {
			seen[s] = true
			b = append(append(b, strings.ToLower(s)...), 0)
		}
	}
	for i := range v.All() {
		add(record.Version(i.Record()))
		for name := range record.Capabilities(i.Record()) {
			add(name)
		}
	}
	return b
}
