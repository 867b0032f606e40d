package filter

import (
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// numberType is that of what is a number. To CEL a literal 0 is no double, and a
// comparison of the two for equality a mistake; so it is not told what this is.
var numberType = cel.DynType

// variables are the names that an expression may use, as they are listed to who
// used another.
var variables = []struct {
	name string
	kind *cel.Type
}{
	{"service", cel.StringType}, {"ns", cel.StringType}, {"id", cel.StringType}, {"address", cel.StringType},
	{"ports", cel.MapType(cel.StringType, numberType)}, {"version", cel.StringType}, {"node", cel.StringType},
	{"locality", cel.ObjectType("locality")}, {"position", cel.ObjectType("position")},
	{"cap", cel.MapType(cel.StringType, cel.DynType)}, {"meta", cel.MapType(cel.StringType, cel.StringType)},
	{"weight", numberType}, {"capacity", numberType}, {"health", cel.StringType}, {"load", cel.ObjectType("load")},
}

// functions are those of CEL's own that there are, beside the operators: those
// that answer in a time that grows with their arguments and return nothing
// bigger.
var functions = []string{
	overloads.Size, overloads.Contains, overloads.StartsWith, overloads.EndsWith, overloads.Matches,
	overloads.TypeConvertInt, overloads.TypeConvertString, overloads.TypeConvertBool,
}

var macros = []string{"has", "all", "exists", "exists_one"}

// language is what expressions are compiled in. It takes a millisecond to build,
// once.
var language = sync.OnceValues(func() (*cel.Env, error) {
	subset := env.NewLibrarySubset().AddIncludedMacros(macros...)
	for _, name := range append(slices.Clone(functions),
		operators.LogicalAnd, operators.LogicalOr, operators.LogicalNot, operators.Conditional, operators.NotStrictlyFalse,
		operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
		operators.In, operators.Index, operators.Negate, operators.Modulo,
	) {
		subset.AddIncludedFunctions(env.NewFunction(name))
	}
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	opts := []cel.EnvOption{
		cel.StdLib(cel.StdLibSubset(subset)),
		cel.CustomTypeAdapter(registry), cel.CustomTypeProvider(fieldProvider{registry, fieldTypes()}),
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(maxText), cel.ParserRecursionLimit(maxNesting), cel.ExpressionNodeLimit(maxText),
		cel.ParserErrorRecoveryLimit(1),
		cel.ASTValidators(cel.ValidateComprehensionNestingLimit(maxLoops)),
		cel.Function(overloads.TypeConvertDouble, cel.Overload("double_any", []*cel.Type{cel.DynType}, numberType,
			cel.UnaryBinding(func(v ref.Val) ref.Val { return v.ConvertToType(types.DoubleType) }))),
		cel.Function("lower", cel.Overload("lower_string", []*cel.Type{cel.StringType}, cel.StringType, cel.UnaryBinding(lower))),
		cel.Function("semver", cel.Overload("semver_string", []*cel.Type{cel.StringType}, versionType, cel.UnaryBinding(versionOf))),
	}
	for _, v := range variables {
		opts = append(opts, cel.Variable(v.name, v.kind))
	}
	for _, op := range []string{operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals} {
		opts = append(opts, cel.Function(op, cel.Overload(op+"_semver", []*cel.Type{versionType, versionType}, cel.BoolType)))
	}
	return cel.NewCustomEnv(append(opts, arithmetic()...)...)
})

// fieldProvider adds the objects' fields to CEL's own types.
type fieldProvider struct {
	types.Provider
	fields map[string]map[string]*types.FieldType
}

func fieldTypes() map[string]map[string]*types.FieldType {
	all := map[string]map[string]*types.FieldType{versionType.TypeName(): {}}
	for object, members := range objects {
		all[object] = map[string]*types.FieldType{}
		for _, m := range members {
			all[object][m.name] = m.field()
		}
	}
	return all
}

// FindStructType implements [types.Provider].
func (p fieldProvider) FindStructType(name string) (*types.Type, bool) {
	if _, ok := p.fields[name]; !ok {
		return p.Provider.FindStructType(name)
	}
	return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
}

// FindStructFieldNames implements [types.Provider].
func (p fieldProvider) FindStructFieldNames(name string) (names []string, ok bool) {
	if _, ok := p.fields[name]; !ok {
		return p.Provider.FindStructFieldNames(name)
	}
	return fieldNames(name), true
}

func fieldNames(object string) (names []string) {
	for _, m := range objects[object] {
		names = append(names, m.name)
	}
	return names
}

// FindStructFieldType implements [types.Provider].
func (p fieldProvider) FindStructFieldType(object, name string) (*types.FieldType, bool) {
	if fields, ok := p.fields[object]; ok {
		f, ok := fields[name]
		return f, ok
	}
	return p.Provider.FindStructFieldType(object, name)
}

// arithmetic returns the four operations, which differ from CEL's own: whole
// numbers and others mix, so that cap.gpu * 2 is what it looks like; texts add to
// no more than maxText bytes, and lists not at all, since what grows by itself
// cannot be bounded.
func arithmetic() (opts []cel.EnvOption) {
	for op, id := range map[string]string{
		operators.Add: "add", operators.Subtract: "subtract", operators.Multiply: "multiply", operators.Divide: "divide",
	} {
		signature := func(a, b, result *cel.Type) cel.FunctionOpt {
			return cel.Overload(id+"_"+a.TypeName()+"_"+b.TypeName(), []*cel.Type{a, b}, result)
		}
		fn := []cel.FunctionOpt{
			signature(cel.IntType, cel.IntType, cel.IntType), signature(cel.DoubleType, cel.DoubleType, numberType),
			signature(cel.IntType, cel.DoubleType, numberType), signature(cel.DoubleType, cel.IntType, numberType),
			cel.SingletonBinaryBinding(func(a, b ref.Val) ref.Val { return calculate(op, a, b) }),
		}
		if op == operators.Add {
			fn = append(fn, signature(cel.StringType, cel.StringType, cel.StringType))
		}
		opts = append(opts, cel.Function(op, fn...))
	}
	return opts
}

// lower is the function of that name: each letter by itself, as Unicode pairs them.
// A few take a byte more in lower case.
func lower(v ref.Val) ref.Val {
	s, ok := v.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(v)
	}
	if s = types.String(strings.ToLower(string(s))); len(s) > maxText {
		return types.NewErr("a text gets longer than %d bytes", maxText)
	}
	return s
}

func calculate(op string, a, b ref.Val) ref.Val {
	switch x := a.(type) {
	case types.String:
		if y, ok := b.(types.String); ok && op == operators.Add {
			if len(x)+len(y) > maxText {
				return types.NewErr("a text gets longer than %d bytes", maxText)
			}
			return x + y
		}
	case types.Int:
		switch y := b.(type) {
		case types.Int:
			return calculateInt(op, x, y)
		case types.Double:
			return calculateDouble(op, types.Double(x), y)
		}
	case types.Double:
		switch y := b.(type) {
		case types.Int:
			return calculateDouble(op, x, types.Double(y))
		case types.Double:
			return calculateDouble(op, x, y)
		}
	}
	return types.NewErr("no such overload: %s", op)
}

// calculateInt leaves it to CEL to find overflows.
func calculateInt(op string, a, b types.Int) ref.Val {
	switch op {
	case operators.Add:
		return a.Add(b)
	case operators.Subtract:
		return a.Subtract(b)
	case operators.Multiply:
		return a.Multiply(b)
	}
	return a.Divide(b)
}

func calculateDouble(op string, a, b types.Double) ref.Val {
	switch op {
	case operators.Add:
		return a + b
	case operators.Subtract:
		return a - b
	case operators.Multiply:
		return a * b
	}
	return a / b
}
