package filter

import (
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/rollcall-registry/rollcall"
)

// Term is a condition that all instances meet that a filter selects: a
// capability, or a metadata pair, is one of some values or a list that holds one
// of them. Others may meet it too.
type Term struct {
	Field string // "cap" or "meta"
	Name  string
	Any   []rollcall.Value // at least one
}

// Terms returns conditions that an index can narrow with, found in what the
// expression joins by &&. They must not be changed.
func (f *Filter) Terms() []Term { return f.terms }

func terms(e ast.Expr) (ts []Term) {
	for _, e := range conjuncts(e, nil) {
		if t, ok := term(e); ok {
			ts = append(ts, t)
		}
	}
	return ts
}

// conjuncts returns what e joins by &&, in the order of the text, and shows the
// operators to visit unless that is nil.
func conjuncts(e ast.Expr, visit func(and ast.Expr)) (es []ast.Expr) {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != operators.LogicalAnd {
		return []ast.Expr{e}
	}
	if visit != nil {
		visit(e)
	}
	for _, arg := range e.AsCall().Args() {
		es = append(es, conjuncts(arg, visit)...)
	}
	return es
}

func term(e ast.Expr) (t Term, ok bool) {
	if field, name, ok := entry(e); ok && field == "cap" {
		return Term{field, name, []rollcall.Value{rollcall.Bool(true)}}, true
	}
	if e.Kind() != ast.CallKind {
		return Term{}, false
	}
	args := e.AsCall().Args()
	switch e.AsCall().FunctionName() {
	case operators.Equals:
		if t, ok = oneOf(args[0], args[1]); !ok {
			t, ok = oneOf(args[1], args[0])
		}
	case operators.In:
		if args[1].Kind() == ast.ListKind {
			return oneOf(args[0], args[1].AsList().Elements()...)
		}
		t, ok = oneOf(args[1], args[0])
	}
	return t, ok
}

// oneOf returns the term that an entry is one of some literals.
func oneOf(of ast.Expr, literals ...ast.Expr) (t Term, ok bool) {
	if t.Field, t.Name, ok = entry(of); !ok {
		return Term{}, false
	}
	for _, l := range literals {
		v, ok := value(literal(l))
		if !ok {
			return Term{}, false
		}
		t.Any = append(t.Any, v)
	}
	return t, len(t.Any) > 0
}

// entry takes apart cap.NAME, cap["NAME"] and the same of meta.
func entry(e ast.Expr) (field, name string, ok bool) {
	var of ast.Expr
	switch e.Kind() {
	case ast.SelectKind:
		of, name = e.AsSelect().Operand(), e.AsSelect().FieldName()
		ok = !e.AsSelect().IsTestOnly()
	case ast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != operators.Index {
			return "", "", false
		}
		var key types.String
		key, ok = literal(call.Args()[1]).(types.String)
		of, name = call.Args()[0], string(key)
	}
	if !ok || of.Kind() != ast.IdentKind || of.AsIdent() != "cap" && of.AsIdent() != "meta" {
		return "", "", false
	}
	return of.AsIdent(), name, true
}

// value returns a scalar of CEL as a capability's.
func value(v ref.Val) (rollcall.Value, bool) {
	switch v := v.(type) {
	case types.Bool:
		return rollcall.Bool(bool(v)), true
	case types.String:
		return rollcall.String(string(v)), true
	case types.Double:
		return rollcall.Number(float64(v)), true
	case types.Int:
		return rollcall.Number(float64(v)), true
	case types.Uint:
		return rollcall.Number(float64(v)), true
	}
	return rollcall.Value{}, false
}
