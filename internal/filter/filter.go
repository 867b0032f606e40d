// Package filter decides which instances an expression selects. The language is
// CEL (cel.dev) without what can grow or take long: variables that are read off
// the packed instance when they are needed, CEL's operators, has, all, exists
// and exists_one, contains, startsWith, endsWith, matches with a literal
// pattern, size, int, double, string and bool, lower, which returns a text in lower
// case, and semver, whose results compare by precedence.
//
// Names that stand alone always have a value: "" or 0 where the instance gave
// none, as in version == "". The parts of cap, meta, ports, locality, position
// and load may be missing: then what depends on them is an error, which is no
// match, and has(cap.gpu) is false. What does not depend on them decides all the
// same: a || b matches if b does, whatever becomes of a. Numbers compare and
// calculate whether they are whole or not; but a capability that is a text is
// never equal to a number, and not less than one either. Service and namespace
// (ns, since CEL reserves the longer word) are in lower case, health is the name
// of the status.
//
// An expression that neither loops nor matches a pattern looks at each of its
// parts once: it costs what its length and the lists that it looks into allow. The
// others are stopped after a number of steps, which is no match.
package filter

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"

	"github.com/rollcall-registry/rollcall"
)

const (
	maxText    = 4096 // bytes
	maxNesting = 32   // parentheses, calls and operators within each other
	maxLoops   = 2    // within each other
	maxPattern = 500  // instructions that the patterns of an expression compile to, in all
	// maxCost is in steps of CEL's cost model, of some 80 ns: all(x, x > 0) takes
	// 5 for an element, and a capability has no more than 512 elements.
	maxCost = 5000
)

// Filter is a compiled expression. It is immutable and may be used by many at
// once.
type Filter struct {
	text    string
	program cel.Program
	terms   []Term
	soft    bool
	clauses func() []clause // made when somebody asks why
}

// Compile compiles an expression of at most 4 KiB. It returns an
// [rollcall.ErrInvalid] of the field "filter" that names the line and column, in
// characters from 1, and says what would be right.
func Compile(text string) (*Filter, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return nil, invalid("is empty; leave it out to select all")
	case len(text) > maxText:
		return nil, invalid(fmt.Sprintf("is %d bytes long; at most %d are allowed", len(text), maxText))
	case !utf8.ValidString(text):
		return nil, invalid("is not valid UTF-8")
	}
	env, tree, err := parse(text)
	if err != nil {
		return nil, err
	}
	c := checker{text: text, ast: tree, parted: map[int64]bool{}, patterns: patterns{}}
	if err := c.check(); err != nil {
		return nil, err
	}
	f := &Filter{text: text, soft: c.soft, terms: terms(tree.Expr())}
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), cel.CustomDecoratorV2(foldVersions)}
	if c.loops || len(c.patterns) > 0 {
		options = append(options, cel.CostLimit(maxCost), cel.CostTracking(c.patterns))
	}
	f.clauses = sync.OnceValue(func() []clause { return split(text, options) })
	if f.program, err = env.PlanProgram(tree, options...); err != nil {
		return nil, invalid(err.Error())
	}
	return f, nil
}

// parse returns the checked syntax tree of text, and the language it is in.
func parse(text string) (*cel.Env, *ast.AST, error) {
	env, err := language()
	if err != nil {
		return nil, nil, fmt.Errorf("build the language of filters: %w", err)
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, nil, explain(text, issues)
	}
	return env, checked.NativeRep(), nil
}

// foldVersions calls semver() of a literal once, instead of each time.
func foldVersions(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
	call, ok := i.(interpreter.InterpretableCall)
	if !ok || call.Function() != "semver" || len(call.Args()) != 1 {
		return i, nil
	}
	if literal, ok := call.Args()[0].(interpreter.InterpretableConst); ok {
		return interpreter.NewConstValue(i.ID(), versionOf(literal.Value())), nil
	}
	return i, nil
}

// Text returns the expression.
func (f *Filter) Text() string { return f.text }

// Soft reports whether the filter reads what changes without a revision: load
// and position.
func (f *Filter) Soft() bool { return f.soft }

// Match reports whether the filter selects s. What cannot be decided does not
// match.
func (f *Filter) Match(s *Subject) bool {
	r := read(s)
	defer r.release()
	v, _, _ := f.program.Eval(r)
	return v == types.True
}

func invalid(detail string) *rollcall.Error { return rollcall.Invalid("filter", detail) }
