package filter

import (
	"fmt"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// checker looks for what is CEL, but has no place in a filter.
type checker struct {
	text     string
	ast      *ast.AST
	loops    bool
	soft     bool
	parted   map[int64]bool // objects of which a part is read
	patterns patterns
	err      error
}

func (c *checker) check() error {
	e := c.ast.Expr()
	if t := c.ast.GetType(e.ID()); t.Kind() != types.BoolKind && t.Kind() != types.DynKind {
		c.fail(start(c.ast, e), fmt.Sprintf("this is of type %.60s; a filter is true or false, so compare it with something", t.String()))
		return c.err
	}
	ast.PreOrderVisit(e, ast.NewExprVisitor(c.visit))
	return c.err
}

func (c *checker) fail(at int, detail string) {
	if c.err == nil {
		c.err = invalid(place(c.text, at) + detail)
	}
}

func (c *checker) visit(e ast.Expr) {
	switch e.Kind() {
	case ast.IdentKind:
		c.soft = c.soft || e.AsIdent() == "load" || e.AsIdent() == "position"
		if object := objects[e.AsIdent()]; object != nil && !c.parted[e.ID()] && c.ast.GetType(e.ID()).Kind() == types.StructKind {
			c.fail(start(c.ast, e), "say which part of it: "+strings.Join(fieldNames(e.AsIdent()), ", "))
		}
	case ast.SelectKind:
		c.parted[e.AsSelect().Operand().ID()] = true
	case ast.ComprehensionKind:
		c.loops = true
	case ast.MapKind, ast.StructKind:
		c.fail(start(c.ast, e), "a filter has no use for a map; write the conditions, joined by &&")
	case ast.ListKind:
		for _, element := range e.AsList().Elements() {
			if !constant(element) {
				c.fail(start(c.ast, element), "a list holds nothing but literals, such as [\"av1\", \"vp9\"]; write the conditions, joined by ||")
			}
		}
	case ast.CallKind:
		c.call(e)
	}
}

// constant reports whether e is a literal, or a list of them.
func constant(e ast.Expr) bool {
	if e.Kind() != ast.ListKind {
		return e.Kind() == ast.LiteralKind
	}
	for _, element := range e.AsList().Elements() {
		if !constant(element) {
			return false
		}
	}
	return true
}

func (c *checker) call(e ast.Expr) {
	call := e.AsCall()
	switch args := call.Args(); call.FunctionName() {
	case "semver":
		if s, ok := literal(args[0]).(types.String); ok {
			if _, ok := parseVersion(string(s)); !ok {
				c.fail(start(c.ast, args[0]), notVersion(s).Error()+"; write it like \"2.4.1\"")
			}
		}
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		for n, other := range []ast.Expr{args[1], args[0]} {
			if v := literal(other); v != nil && number(args[n]) && !isNumber(v) {
				c.fail(start(c.ast, other), "this is compared with a number, and is none")
			}
		}
	case overloads.Matches:
		pattern := args[len(args)-1]
		s, ok := literal(pattern).(types.String)
		if !ok {
			c.fail(start(c.ast, pattern), "the pattern has to be a literal, such as \"^web-[0-9]+$\"")
			return
		}
		c.pattern(pattern, string(s))
	}
}

// number reports whether e is a variable that is a number, or a part of one that
// consists of them: what CEL is not told.
func number(e ast.Expr) bool {
	switch e.Kind() {
	case ast.IdentKind:
		return e.AsIdent() == "weight" || e.AsIdent() == "capacity"
	case ast.SelectKind:
		of := e.AsSelect().Operand()
		if e.AsSelect().IsTestOnly() || of.Kind() != ast.IdentKind {
			return false
		}
		return of.AsIdent() == "load" || of.AsIdent() == "position" || of.AsIdent() == "ports"
	}
	return false
}

func isNumber(v ref.Val) bool {
	switch v.(type) {
	case types.Int, types.Uint, types.Double:
		return true
	}
	return false
}

func (c *checker) pattern(e ast.Expr, s string) {
	size, err := types.RegexProgramSize(s)
	if err != nil {
		c.fail(start(c.ast, e), fmt.Sprintf("the pattern is wrong: %.200s", err.Error()))
		return
	}
	total := size
	for _, size := range c.patterns {
		total += size
	}
	if total > maxPattern {
		c.fail(start(c.ast, e), fmt.Sprintf("the patterns are too big: they come to %d instructions, and at most %d are allowed; repeat fewer times in {}, or use startsWith and contains", total, maxPattern))
	}
	c.patterns[s] = size
}

// literal returns the value of a literal, nil if e is none.
func literal(e ast.Expr) ref.Val {
	if e.Kind() != ast.LiteralKind {
		return nil
	}
	return e.AsLiteral()
}

// patterns are the regular expressions of a filter and how many instructions
// each of them compiles to.
type patterns map[string]int

// CallCost implements [cost.ActualCostEstimator]. To match a pattern takes at
// worst each instruction at each byte, of which some ten make a step; to search
// a list that is packed, a step for some 64 bytes, and to lower a text for some 32.
func (p patterns) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	if function == "lower" && len(args) == 1 {
		text, _ := args[0].(types.String)
		return new(1 + uint64(len(text)/32))
	}
	if len(args) != 2 {
		return nil
	}
	switch function {
	case overloads.Matches:
		text, _ := args[0].(types.String)
		pattern, _ := args[1].(types.String)
		return new(1 + uint64(len(text)*p[string(pattern)]/10))
	case operators.In:
		if l, ok := args[1].(packedList); ok {
			return new(1 + uint64(len(l)/64))
		}
	}
	return nil
}
