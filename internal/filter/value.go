package filter

import (
	"fmt"
	"iter"
	"reflect"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// mapping is a map of the packed record, of which nothing is read but what is
// asked for. find returns nil for a key that it does not have.
type mapping struct {
	record rollcall.Record
	find   func(rollcall.Record, string) ref.Val
	keys   func(rollcall.Record) iter.Seq[string]
}

func findCapability(r rollcall.Record, name string) ref.Val {
	p, ok := record.PackedCapability(r, name)
	if !ok {
		return nil
	}
	return packed(p)
}

func findMetadata(r rollcall.Record, name string) ref.Val {
	v, ok := record.Metadata(r, name)
	if !ok {
		return nil
	}
	return types.String(v)
}

func findPort(r rollcall.Record, name string) ref.Val {
	port := record.Port(r, name)
	if port == 0 {
		return nil
	}
	return types.Double(port)
}

// keysOf returns the first halves of what all returns.
func keysOf[V any](all func(rollcall.Record) iter.Seq2[string, V]) func(rollcall.Record) iter.Seq[string] {
	return func(r rollcall.Record) iter.Seq[string] {
		return func(yield func(string) bool) {
			for key := range all(r) {
				if !yield(key) {
					return
				}
			}
		}
	}
}

// packed returns the value of a capability. A list is not unpacked.
func packed(p record.Packed) ref.Val {
	if p.IsList() {
		return packedList(p)
	}
	return scalar(p.Value())
}

func scalar(v rollcall.Value) ref.Val {
	switch v.Kind() {
	case rollcall.KindBool:
		return types.Bool(v.Bool())
	case rollcall.KindNumber:
		return types.Double(v.Number())
	case rollcall.KindString:
		return types.String(v.Text())
	}
	return types.NewErr("no value")
}

// FindStringKey is asked first where a key is written in the expression.
func (m *mapping) FindStringKey(key string) (any, bool) {
	v := m.find(m.record, key)
	return v, v != nil
}

// Find implements [traits.Mapper]. A key that is no text is not there.
func (m *mapping) Find(key ref.Val) (ref.Val, bool) {
	s, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	v := m.find(m.record, string(s))
	return v, v != nil
}

// Contains implements [traits.Container].
func (m *mapping) Contains(key ref.Val) ref.Val {
	_, ok := m.Find(key)
	return types.Bool(ok)
}

// Get implements [traits.Indexer].
func (m *mapping) Get(key ref.Val) ref.Val {
	if v, ok := m.Find(key); ok {
		return v
	}
	return types.NewErr("no such key: %v", key)
}

// Size implements [traits.Sizer].
func (m *mapping) Size() ref.Val {
	n := 0
	for range m.keys(m.record) {
		n++
	}
	return types.Int(n)
}

// Iterator implements [traits.Iterable].
func (m *mapping) Iterator() traits.Iterator {
	var keys []ref.Val
	for key := range m.keys(m.record) {
		keys = append(keys, types.String(key))
	}
	return types.DefaultTypeAdapter.NativeToValue(keys).(traits.Lister).Iterator()
}

// ConvertToNative implements [ref.Val].
func (m *mapping) ConvertToNative(t reflect.Type) (any, error) { return nil, noConversion(m, t) }

// ConvertToType implements [ref.Val].
func (m *mapping) ConvertToType(t ref.Type) ref.Val { return types.WrapErr(noConversion(m, t)) }

// Equal implements [ref.Val]. Whole maps are equal to nothing but themselves.
func (m *mapping) Equal(other ref.Val) ref.Val { return types.Bool(other == ref.Val(m)) }

// Type implements [ref.Val].
func (m *mapping) Type() ref.Type { return types.MapType }

// Value implements [ref.Val].
func (m *mapping) Value() any { return m }

// packedList is a capability's list as it is packed.
type packedList record.Packed

// Contains implements [traits.Container].
func (l packedList) Contains(v ref.Val) ref.Val {
	for e := range record.Packed(l).Elements() {
		if same(e.Value(), v) {
			return types.True
		}
	}
	return types.False
}

// same reports whether v is e, without making a value of e.
func same(e rollcall.Value, v ref.Val) bool {
	switch v := v.(type) {
	case types.String:
		return e.Kind() == rollcall.KindString && e.Text() == string(v)
	case types.Bool:
		return e.Kind() == rollcall.KindBool && e.Bool() == bool(v)
	case types.Double:
		return e.Kind() == rollcall.KindNumber && e.Number() == float64(v)
	}
	return types.Equal(scalar(e), v) == types.True
}

// Fold implements [traits.Foldable], for loops.
func (l packedList) Fold(f traits.Folder) {
	n := types.Int(0)
	for e := range record.Packed(l).Elements() {
		if !f.FoldEntry(n, scalar(e.Value())) {
			return
		}
		n++
	}
}

// Get implements [traits.Indexer].
func (l packedList) Get(index ref.Val) ref.Val {
	n, err := types.GetOrError(index)
	if err != nil {
		return types.WrapErr(err)
	}
	for e := range record.Packed(l).Elements() {
		if n == 0 {
			return scalar(e.Value())
		}
		n--
	}
	return types.NewErr("index out of bounds: %v", index)
}

// Size implements [traits.Sizer].
func (l packedList) Size() ref.Val { return types.Int(record.Packed(l).Len()) }

// Iterator implements [traits.Iterable].
func (l packedList) Iterator() traits.Iterator {
	vs := make([]ref.Val, 0, record.Packed(l).Len())
	for e := range record.Packed(l).Elements() {
		vs = append(vs, scalar(e.Value()))
	}
	return types.DefaultTypeAdapter.NativeToValue(vs).(traits.Lister).Iterator()
}

// Equal implements [ref.Val].
func (l packedList) Equal(other ref.Val) ref.Val {
	switch o := other.(type) {
	case packedList:
		return types.Bool(o == l) // packing is canonical
	case traits.Lister:
		if o.Size() != l.Size() {
			return types.False
		}
		n := types.Int(0)
		for e := range record.Packed(l).Elements() {
			if !same(e.Value(), o.Get(n)) {
				return types.False
			}
			n++
		}
		return types.True
	}
	return types.False
}

// Add implements [traits.Adder]. No expression reaches it: lists do not add.
func (l packedList) Add(other ref.Val) ref.Val { return types.MaybeNoSuchOverloadErr(other) }

// ConvertToNative implements [ref.Val].
func (l packedList) ConvertToNative(t reflect.Type) (any, error) { return nil, noConversion(l, t) }

// ConvertToType implements [ref.Val].
func (l packedList) ConvertToType(t ref.Type) ref.Val { return types.WrapErr(noConversion(l, t)) }

// Type implements [ref.Val].
func (l packedList) Type() ref.Type { return types.ListType }

// Value implements [ref.Val].
func (l packedList) Value() any { return l }

func noConversion(v ref.Val, t any) error {
	return fmt.Errorf("a %s does not become a %v", v.Type().TypeName(), t)
}
