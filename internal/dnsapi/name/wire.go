package name

import "strings"

// Label reports whether a text can be a label.
func Label(s string) bool { return 0 < len(s) && len(s) <= mostLabel }

// AppendLabels appends labels, of 1 to 63 bytes each, to a name in wire form that
// is being written.
func AppendLabels(b []byte, labels ...string) []byte {
	for _, l := range labels {
		b = append(append(b, byte(len(l))), l...)
	}
	return b
}

// AppendDomain appends a domain in wire form that is a [Zone]'s name: it has no
// escapes, and a dot at its end.
func AppendDomain(b []byte, domain string) []byte {
	for l := range strings.SplitSeq(strings.TrimSuffix(domain, "."), ".") {
		b = AppendLabels(b, l)
	}
	return append(b, 0)
}
