package filter

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/rollcall-registry/rollcall/internal/record"
)

// clause is one of the conditions that an expression joins by &&, as it is
// written.
type clause struct {
	text    string
	program cel.Program
	reads   []reading
}

// reading is what a clause reads of an instance: a variable, and which part of
// it.
type reading struct{ name, part string }

// Why says why the filter does not select s, and nothing if it does: the first
// condition that is not met, and what the instance has instead.
func (f *Filter) Why(s *Subject) string {
	if f.Match(s) {
		return ""
	}
	r := read(s)
	defer r.release()
	for _, c := range f.clauses() {
		v, _, err := c.program.Eval(r)
		if v != types.True {
			return "filter: " + c.why(s, v == types.False, err)
		}
	}
	return fmt.Sprintf("filter: it takes more than %d steps to decide", maxCost)
}

func (c *clause) why(s *Subject, decided bool, err error) string {
	var has []string
	for _, r := range c.reads {
		what, missing := r.describe(s, len(c.reads) == 1)
		if missing && !decided {
			return c.text + ": " + what
		}
		has = append(has, what)
	}
	detail := strings.Join(has, ", ")
	switch {
	case decided && detail == "":
		return c.text + " is false"
	case decided:
		return c.text + " is false: " + detail
	case err == nil:
		return c.text + " is neither true nor false: " + detail
	case strings.Contains(err.Error(), "cost limit"):
		return fmt.Sprintf("%s takes more than %d steps to decide", c.text, maxCost)
	case strings.Contains(err.Error(), "no such overload"):
		return c.text + ": its value is of another kind: " + detail
	}
	return c.text + ": " + err.Error()
}

// split returns the clauses of the filter that text compiles to.
func split(text string, options []cel.ProgramOption) (cs []clause) {
	env, tree, err := parse(text)
	if err != nil {
		return nil
	}
	var cuts []int
	all := conjuncts(tree.Expr(), func(and ast.Expr) {
		if r, ok := tree.SourceInfo().GetOffsetRange(and.ID()); ok {
			cuts = append(cuts, int(r.Start))
		}
	})
	texts := cut([]rune(text), cuts)
	for n, e := range all {
		part := ast.NewCheckedAST(ast.NewAST(e, tree.SourceInfo()), tree.TypeMap(), tree.ReferenceMap())
		program, err := env.PlanProgram(part, options...)
		if err != nil {
			return nil
		}
		cs = append(cs, clause{texts[n], program, readings(e)})
	}
	return cs
}

// cut takes the operators && at some places out of text, and returns what is
// between them.
func cut(text []rune, at []int) (parts []string) {
	slices.Sort(at)
	from := 0
	for _, at := range append(at, len(text)) {
		part := []rune(bare(string(text[from:at])))
		if len(part) > 120 {
			part = append(part[:119:119], '…')
		}
		parts = append(parts, string(part))
		from = min(at+len("&&"), len(text))
	}
	return parts
}

// bare takes off a clause the space around it, and parentheses that are closed
// or opened in another clause.
func bare(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	for range maxNesting {
		depth, lowest := 0, 0
		for _, c := range s { // those in a literal are seldom, and cost no more than looks
			switch c {
			case '(':
				depth++
			case ')':
				depth--
			}
			lowest = min(lowest, depth)
		}
		switch {
		case depth > 0 && strings.HasPrefix(s, "("):
			s = strings.TrimSpace(s[1:])
		case lowest < 0 && strings.HasSuffix(s, ")"):
			s = strings.TrimSpace(s[:len(s)-1])
		default:
			return s
		}
	}
	return s
}

// readings returns what e reads, each once, in the order of the text.
func readings(e ast.Expr) (rs []reading) {
	add := func(r reading) {
		if !slices.Contains(rs, r) {
			rs = append(rs, r)
		}
	}
	part := map[int64]bool{} // variables of which a part was seen already
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			if of := e.AsSelect().Operand(); of.Kind() == ast.IdentKind {
				part[of.ID()] = true
				add(reading{of.AsIdent(), e.AsSelect().FieldName()})
			}
		case ast.CallKind:
			if e.AsCall().FunctionName() == operators.Index && e.AsCall().Args()[0].Kind() == ast.IdentKind {
				if key, ok := literal(e.AsCall().Args()[1]).(types.String); ok {
					part[e.AsCall().Args()[0].ID()] = true
					add(reading{e.AsCall().Args()[0].AsIdent(), string(key)})
				}
			}
		case ast.IdentKind:
			if !part[e.ID()] {
				add(reading{e.AsIdent(), ""})
			}
		}
	}))
	return slices.DeleteFunc(rs, func(r reading) bool { return !r.known() })
}

// known reports whether there is something to say of a reading.
func (r reading) known() bool {
	for _, v := range variables {
		if v.name == r.name {
			whole := v.kind == types.StringType || v.kind == numberType
			return whole == (r.part == "")
		}
	}
	return false
}

// describe says what s has of what is read, shorter if nothing else is.
func (r reading) describe(s *Subject, alone bool) (what string, missing bool) {
	switch r.name {
	case "cap":
		p, ok := record.PackedCapability(s.Record, r.part)
		if !ok {
			return "it has no capability " + r.part, true
		}
		if alone {
			return "it has " + p.Value().String(), false
		}
		return "its " + r.part + " is " + p.Value().String(), false
	case "meta":
		v, ok := record.Metadata(s.Record, r.part)
		if !ok {
			return "it has no metadata " + r.part, true
		}
		return "its metadata " + r.part + " is " + clip(v, 40), false
	case "ports":
		if port := record.Port(s.Record, r.part); port != 0 {
			return fmt.Sprintf("its port %s is %d", r.part, port), false
		}
		return "it has no port " + r.part, true
	}
	return r.variable(s)
}

// variable describes what stands alone, or is a part of an object.
func (r reading) variable(s *Subject) (what string, missing bool) {
	name := r.name
	if r.part != "" {
		name += "." + r.part
	}
	var v any
	if i := slices.IndexFunc(objects[r.name], func(m member) bool { return m.name == r.part }); i >= 0 {
		value := objects[r.name][i].get(s)
		if value == nil {
			return "its " + name + " is not known", true
		}
		v = value.Value()
	} else {
		resolver := read(s)
		defer resolver.release()
		value, _ := resolver.ResolveName(r.name)
		v = value.(ref.Val).Value()
	}
	if text, ok := v.(string); ok {
		v = clip(text, 40)
	}
	return fmt.Sprintf("its %s is %v", name, v), false
}
