package filter

import (
	"errors"
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

func TestProblems(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{``, "is empty"},
		{" \n", "is empty"},
		{strings.Repeat("x", 4097), "is 4097 bytes long; at most 4096 are allowed"},
		{"id == \"\xff\"", "is not valid UTF-8"},

		{`cpa.gpu >= 2`, `line 1, column 1, at "cpa.gpu >= 2": there is no cpa; there are service, ns, id, address, ports,`},
		{"cap.gpu >= 2 &&\n  cpu == 3", `line 2, column 3, at "cpu == 3": there is no cpu;`},
		{`id == "🙂é" && cpu == 1`, `line 1, column 15, at "cpu == 1": there is no cpu;`},
		{strings.Repeat("x", 4000), `there is no ` + strings.Repeat("x", 60) + `; there are service,`},
		{strings.Repeat("x", 4000) + "()", `there is no function ` + strings.Repeat("x", 60) + `;`},
		{"load." + strings.Repeat("x", 4000) + " == 1", `there is no field ` + strings.Repeat("x", 60) + `;`},
		{"id.matches('(" + strings.Repeat("x", 4000) + "')", `the pattern is wrong: error parsing regexp`},
		{`locality.zon == "a"`, `line 1, column 9, at ".zon == \"a\"": there is no field zon; there are locality.region, locality.zone,`},
		{`id == "a" && foo(3)`, `line 1, column 14, at "foo(3)": there is no function foo; there are semver, lower, double, size,`},
		{`id.foo() == 1`, `at "foo() == 1": there is no function foo;`},
		{`cap.map(x, x) == []`, `there is no function map;`},
		{`timestamp("x") < timestamp("y")`, `there is no function timestamp;`},
		{`dyn(1) == 1`, `there is no function dyn;`},
		{`namespace == "x"`, `line 1, column 1, at "namespace == \"x\"": namespace is a reserved word of CEL; the namespace is called ns`},

		{`version`, `line 1, column 1, at "version": this is of type string; a filter is true or false`},
		{`true ? "a" : "b"`, `column 1, at "true ? \"a\" : \"b\"": this is of type string;`},
		{`1 + 2`, "this is of type int;"},
		{`true && 1`, `line 1, column 9, at "1": expected type 'bool' but found 'int'`},
		{`version > 3`, `line 1, column 9, at "> 3": > does not go with (string, int)`},
		{`"a" + 1 == "b"`, `at "+ 1 == \"b\"": + does not go with (string, int)`},
		{`lower(1) == "1"`, `line 1, column 1, at "lower(1) == \"1\"": lower does not go with (int)`},
		{`size(1) == 2`, `line 1, column 1, at "size(1) == 2": size does not go with (int)`},
		{`version["x"] == "a"`, `(string, string) cannot be indexed like that`},
		{`service.foo == 1`, `type 'string' does not support field selection`},
		{`load == load`, `line 1, column 1, at "load == load": say which part of it: utilization, in_flight,`},
		{`(true ? locality : locality).zone == ""`, `say which part of it: region, zone, sub_zone`},

		{`cap.gpu >= `, `line 1, column 12, at the end: the expression ends where more is expected`},
		{"cap.gpu >= 2 &&\n", `line 2, column 1, at the end: the expression ends`},
		{`version = "3"`, `line 1, column 9, at "= \"3\"": = is no operator; there are ==, && and ||`},
		{`true & true`, `& is no operator`},
		{`true and true`, `line 1, column 6, at "and true": and is no operator; write &&, || or !`},
		{`id == 'abc`, `line 1, column 7, at "'abc": the text has no end`},
		{`id == "abc`, `the text has no end`},
		{`id id`, `line 1, column 4, at "id": this was not expected here`},
		{"id == 🙂", `line 1, column 7, at "🙂": this was not expected here`},

		{`[version] == ["a"]`, `line 1, column 2, at "version] == [\"a\"]": a list holds nothing but literals`},
		{`{"a": 1} == {"a": 1}`, `a filter has no use for a map`},
		{`[1] + [2] == [1, 2]`, `+ does not go with (list(int), list(int))`},
		{`id.matches(version)`, `line 1, column 12, at "version)": the pattern has to be a literal`},
		{`id.matches("(")`, `line 1, column 12, at "\"(\")": the pattern is wrong: error parsing regexp: missing closing )`},
		{`id.matches("(a{100}){5}")`, `the patterns are too big: they come to 512 instructions, and at most 500 are allowed`},
		{`id.matches("a{300}") || id.matches("b{300}")`, `line 1, column 36, at "\"b{300}\")": the patterns are too big`},
		{`semver(version) > semver("two")`, `line 1, column 26, at "\"two\")": "two" is not a semantic version; write it like "2.4.1"`},
		{`semver(3) > semver("2")`, `semver does not go with (int)`},
		{`semver(version) > "2"`, `> does not go with (semver, string)`},
		{strings.Repeat("(", 50) + "true" + strings.Repeat(")", 50), `this is nested too deep; at most 32 levels are allowed`},
		{`cap.tier - "x" == ""`, `- does not go with (dyn, string)`},
		{`load.rps == "x"`, `line 1, column 13, at "\"x\"": this is compared with a number, and is none`},
		{`true != capacity`, `line 1, column 1, at "true != capacity": this is compared with a number`},
		{`ports.http < "80"`, `this is compared with a number`},
		{strings.Repeat("weight + ", 60) + "1 == 2", `nested too deep`},
		{`cap.a.all(x, cap.b.all(y, cap.c.all(z, true)))`, `loops within loops: at most 2 levels of all, exists and exists_one are allowed`},
	} {
		_, err := Compile(tt.text)
		var e *rollcall.Error
		if !errors.As(err, &e) || !errors.Is(err, rollcall.ErrInvalid) || e.Field != "filter" {
			t.Errorf("%.60q: %v", tt.text, err)
			continue
		}
		if !strings.Contains(e.Detail, tt.want) || len(e.Detail) > 600 {
			t.Errorf("%.60q:\n%s\nwant\n%s", tt.text, e.Detail, tt.want)
		}
	}
}

// TestLongFilters: what is long and not deep is taken.
func TestLongFilters(t *testing.T) {
	for name, text := range map[string]string{
		"and":  strings.Repeat("cap.gpu == 2 && ", 250) + "true",
		"or":   strings.Repeat("cap.gpu == 3 || ", 250) + "true",
		"list": "id in [" + strings.Repeat(`"payments-7f9c",`, 250) + `"x"]`,
		"not":  strings.Repeat("!", 2000) + "true",
		"deep": strings.Repeat("(", 20) + "true" + strings.Repeat(")", 20),
	} {
		f, err := Compile(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !f.Match(typical()) {
			t.Errorf("%s does not match: %s", name, f.Why(typical()))
		}
	}
}
