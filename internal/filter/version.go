package filter

import (
	"reflect"
	"strings"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"golang.org/x/mod/semver"
)

// versionType is that of what semver() returns.
var versionType = types.NewObjectType("semver", traits.ComparerType)

// version is a semantic version, with a "v" in front. It is ordered by the
// precedence of semver.org; what follows a "+" does not count.
type version string

// parseVersion reads "2", "2.4", "2.4.1" and "2.4.1-rc.1+build", each with or
// without a "v" in front. What is left out is 0.
func parseVersion(s string) (version, bool) {
	if !strings.HasPrefix(s, "v") {
		s = "v" + s
	}
	return version(s), semver.IsValid(s)
}

// versionOf is the function semver().
func versionOf(v ref.Val) ref.Val {
	s, ok := v.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	parsed, ok := parseVersion(string(s))
	if !ok {
		return types.WrapErr(notVersion(s))
	}
	return parsed
}

// notVersion is the error of a text that is none. It is put into words only for
// who wants to read it.
type notVersion string

func (e notVersion) Error() string {
	if e == "" {
		return "it has no version"
	}
	return clip(string(e), 40) + " is not a semantic version"
}

// Compare implements [traits.Comparer].
func (v version) Compare(other ref.Val) ref.Val {
	o, ok := other.(version)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	return types.Int(semver.Compare(string(v), string(o)))
}

// Equal implements [ref.Val].
func (v version) Equal(other ref.Val) ref.Val {
	o, ok := other.(version)
	return types.Bool(ok && semver.Compare(string(v), string(o)) == 0)
}

// ConvertToNative implements [ref.Val].
func (v version) ConvertToNative(t reflect.Type) (any, error) { return nil, noConversion(v, t) }

// ConvertToType implements [ref.Val].
func (v version) ConvertToType(t ref.Type) ref.Val { return types.WrapErr(noConversion(v, t)) }

// Type implements [ref.Val].
func (v version) Type() ref.Type { return versionType }

// Value implements [ref.Val].
func (v version) Value() any { return string(v) }
