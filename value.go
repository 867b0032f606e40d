package rollcall

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Kind is the type of a capability's value.
type Kind uint8

// The kinds of a [Value].
const (
	KindNone Kind = iota
	KindBool
	KindNumber
	KindString
	KindList
)

// Value is a capability's value: a boolean, a number (an IEEE 754 double), a
// string, or a list of these. The zero Value is none of them and is refused in
// a registration. Values are immutable.
type Value struct {
	kind Kind
	num  float64 // KindNumber; KindBool: 0 or 1
	str  string
	list []Value
}

// Bool returns a boolean value.
func Bool(b bool) Value {
	if b {
		return Value{kind: KindBool, num: 1}
	}
	return Value{kind: KindBool}
}

// Number returns a numeric value. NaN and infinities are refused in a
// registration.
func Number(n float64) Value { return Value{kind: KindNumber, num: n} }

// String returns a string value.
func String(s string) Value { return Value{kind: KindString, str: s} }

// List returns a list value. Lists do not nest.
func List(vs ...Value) Value { return Value{kind: KindList, list: slices.Clone(vs)} }

// Strings returns a list of strings.
func Strings(ss ...string) Value {
	vs := make([]Value, len(ss))
	for i, s := range ss {
		vs[i] = String(s)
	}
	return Value{kind: KindList, list: vs}
}

// Kind returns the value's type.
func (v Value) Kind() Kind { return v.kind }

// Bool returns a KindBool value, false for any other.
func (v Value) Bool() bool { return v.kind == KindBool && v.num != 0 }

// Number returns a KindNumber value, 0 for any other.
func (v Value) Number() float64 {
	if v.kind != KindNumber {
		return 0
	}
	return v.num
}

// Text returns a KindString value, "" for any other.
func (v Value) Text() string { return v.str }

// List returns the elements of a KindList value. They must not be changed.
func (v Value) List() []Value { return v.list }

// Equal reports whether v and o are of one kind and equal.
func (v Value) Equal(o Value) bool {
	return v.kind == o.kind && v.num == o.num && v.str == o.str && slices.EqualFunc(v.list, o.list, Value.Equal)
}

// Matches reports whether v is what text says: "true" or "false" for a boolean,
// any spelling of the same number, the string itself, or one element of a list.
func (v Value) Matches(text string) bool {
	switch v.kind {
	case KindBool:
		return text == strconv.FormatBool(v.num != 0)
	case KindNumber:
		n, err := strconv.ParseFloat(text, 64)
		return err == nil && n == v.num
	case KindString:
		return text == v.str
	case KindList:
		return slices.ContainsFunc(v.list, func(e Value) bool { return e.Matches(text) })
	}
	return false
}

// String returns the value as JSON text.
func (v Value) String() string { return string(v.AppendJSON(nil)) }

// MarshalJSON implements [json.Marshaler].
func (v Value) MarshalJSON() ([]byte, error) {
	if v.kind == KindNumber && (math.IsNaN(v.num) || math.IsInf(v.num, 0)) {
		return nil, fmt.Errorf("a capability cannot be %v", v.num)
	}
	return v.AppendJSON(nil), nil
}

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Value) UnmarshalJSON(b []byte) error {
	var x any
	if err := json.Unmarshal(b, &x); err != nil {
		return err
	}
	var err error
	*v, err = valueOf(x, true)
	return err
}

func valueOf(x any, list bool) (Value, error) {
	switch x := x.(type) {
	case bool:
		return Bool(x), nil
	case float64:
		return Number(x), nil
	case string:
		return String(x), nil
	case []any:
		if list {
			vs := make([]Value, len(x))
			for i, e := range x {
				var err error
				if vs[i], err = valueOf(e, false); err != nil {
					return Value{}, err
				}
			}
			return Value{kind: KindList, list: vs}, nil
		}
	}
	return Value{}, fmt.Errorf("a capability is a boolean, a number, a string, or a list of these")
}
