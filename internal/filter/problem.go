package filter

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// explain puts the first of CEL's complaints into words.
func explain(text string, issues *cel.Issues) error {
	all := issues.Errors()
	slices.SortStableFunc(all, func(a, b *cel.Error) int {
		if a.Location.Line() != b.Location.Line() {
			return a.Location.Line() - b.Location.Line()
		}
		return a.Location.Column() - b.Location.Column()
	})
	e := all[0]
	at := offset(text, e.Location.Line(), e.Location.Column())
	runes := []rune(text)
	if strings.Contains(e.Message, "undeclared reference") || strings.Contains(e.Message, "no matching overload") {
		at = called(runes, at)
	}
	return invalid(place(text, at) + reword(e.Message, runes, at))
}

// called returns where the name begins that an opening parenthesis belongs to,
// which is where CEL says that a call is.
func called(text []rune, at int) int {
	if at < len(text) && text[at] == '(' {
		for at > 0 && (text[at-1] == '_' || unicode.IsLetter(text[at-1]) || unicode.IsDigit(text[at-1])) {
			at--
		}
	}
	return at
}

// offset returns the place in text, in characters, of a column, from 0, of a
// line, from 1.
func offset(text string, line, column int) (at int) {
	for l := range strings.Lines(text) {
		if line--; line <= 0 {
			break
		}
		at += len([]rune(l))
	}
	return at + max(column, 0)
}

// place names the line and column of the character that is at a place of text,
// and quotes what begins there.
func place(text string, at int) string {
	runes := []rune(text)
	at = min(at, len(runes))
	before := string(runes[:at])
	line := strings.Count(before, "\n") + 1
	column := at - len([]rune(before[:strings.LastIndexByte(before, '\n')+1])) + 1
	rest, _, _ := strings.Cut(string(runes[at:]), "\n")
	if strings.TrimSpace(rest) == "" {
		return fmt.Sprintf("line %d, column %d, at the end: ", line, column)
	}
	return fmt.Sprintf("line %d, column %d, at %s: ", line, column, clip(rest, 24))
}

// clip quotes s, and no more than its first n characters.
func clip(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return fmt.Sprintf("%q…", string(runes[:n]))
	}
	return fmt.Sprintf("%q", s)
}

// start returns where the text of e begins, in characters.
func start(a *ast.AST, e ast.Expr) int {
	first := -1
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if r, ok := a.SourceInfo().GetOffsetRange(e.ID()); ok && (first < 0 || int(r.Start) < first) {
			first = int(r.Start)
		}
	}))
	return max(first, 0)
}

// reword turns CEL's words for what is wrong at a place into what would be right.
func reword(message string, text []rune, at int) string {
	quoted := func(after string) (string, bool) {
		_, rest, ok := strings.Cut(message, after+" '")
		name, _, closed := strings.Cut(rest, "'")
		return name, ok && closed
	}
	if name, ok := quoted("undeclared reference to"); ok {
		return undeclared(name, strings.HasPrefix(string(text[at:]), name+"("))
	}
	if name, ok := quoted("undefined field"); ok {
		return undefinedField(name)
	}
	if op, ok := quoted("no matching overload for"); ok {
		types, _ := quoted("applied to")
		return mismatch(op, types)
	}
	if _, token, ok := strings.Cut(message, "token recognition error at: '"); ok {
		return unexpected(strings.TrimSuffix(token, "'"))
	}
	for _, sign := range []string{"extraneous input", "mismatched input"} {
		if token, ok := quoted(sign); ok {
			return unexpected(token)
		}
	}
	switch {
	case strings.Contains(message, "reserved identifier: namespace"):
		return "namespace is a reserved word of CEL; the namespace is called ns"
	case strings.Contains(message, "recursion"):
		return fmt.Sprintf("this is nested too deep; at most %d levels are allowed", maxNesting)
	case strings.Contains(message, "comprehension exceeds nesting limit"):
		return fmt.Sprintf("loops within loops: at most %d levels of all, exists and exists_one are allowed", maxLoops)
	}
	message, _, _ = strings.Cut(message, " expecting ")
	return fmt.Sprintf("%.200s", strings.TrimPrefix(message, "Syntax error: "))
}

// undeclared says that a name means nothing, and which do.
func undeclared(name string, called bool) string {
	if called {
		return fmt.Sprintf("there is no function %.60s; there are semver, lower, double, %s, %s", name, strings.Join(functions, ", "), strings.Join(macros, ", "))
	}
	var names []string
	for _, v := range variables {
		names = append(names, v.name)
	}
	return fmt.Sprintf("there is no %.60s; there are %s", name, strings.Join(names, ", "))
}

func undefinedField(name string) string {
	var all []string
	for _, v := range variables {
		for _, field := range fieldNames(v.name) {
			all = append(all, v.name+"."+field)
		}
	}
	return fmt.Sprintf("there is no field %.60s; there are %s", name, strings.Join(all, ", "))
}

// mismatch says that an operator or function does not take what it was given:
// types is "(int, string)".
func mismatch(op, types string) string {
	if op == operators.Index {
		return fmt.Sprintf("%.200s cannot be indexed like that", types)
	}
	return fmt.Sprintf("%.60s does not go with %.200s", strings.Trim(op, "_@"), types)
}

// unexpected says that a token is none, or not where it should be.
func unexpected(token string) string {
	token = strings.TrimSpace(token)
	switch {
	case token == "<EOF>":
		return "the expression ends where more is expected"
	case strings.HasPrefix(token, "=") || strings.HasPrefix(token, "&") || strings.HasPrefix(token, "|"):
		return fmt.Sprintf("%.20s is no operator; there are ==, && and ||", token)
	case strings.HasPrefix(token, "'") || strings.HasPrefix(token, `"`):
		return "the text has no end"
	case token == "and" || token == "or" || token == "not":
		return fmt.Sprintf("%s is no operator; write &&, || or !", token)
	}
	return "this was not expected here; conditions are joined by && and ||, and turned round by !"
}
