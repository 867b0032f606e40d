package rollcall_test

import (
	"bufio"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/rollcall-registry/rollcall"

// mayImport says which packages of this module each one may import, apart from
// tests. A path with /... stands for the packages below it. This is the
// architecture; see ARCHITECTURE.md.
var mayImport = map[string][]string{
	".":               {},
	"client":          {".", "client/internal/address", "client/internal/local", "client/internal/rest", "client/internal/retry", "client/internal/roundtrip", "client/internal/rpc", "client/internal/wire"},
	"client/balancer": {"."},
	"client/meter":    {".", "client/internal/orca"},

	"client/grpcresolver": {".", "client", "client/internal/orca"},

	"client/internal/address": {},
	"client/internal/cache":   {"."},
	"client/internal/line":    {"."},
	"client/internal/local":   {".", "client/balancer", "client/internal/cache", "client/internal/outcome", "client/internal/retry", "client/internal/view"},
	"client/internal/orca":    {"."},
	"client/internal/outcome": {"."},
	"client/internal/problem": {"."},
	"client/internal/rest":    {".", "client/internal/address", "client/internal/line", "client/internal/problem", "client/internal/retry", "client/internal/wire"},
	"client/internal/retry":   {"."},
	"client/internal/rpc":     {".", "api/rollcall/v1", "client/internal/address", "client/internal/retry", "client/internal/wire"},
	"client/internal/view":    {".", "client/balancer", "client/internal/outcome"},
	"client/internal/wire":    {"."},

	"client/internal/roundtrip": {".", "client/internal/orca"},

	"api/rollcall/v1":   {"."},
	"internal/generate": {},

	"examples":              {}, // tests alone
	"examples/hello":        {},
	"examples/http/service": {".", "client", "client/meter"},
	"examples/http/caller":  {"client"},
	"examples/grpc/service": {".", "client", "client/meter"},
	"examples/grpc/caller":  {"client", "client/grpcresolver"},
	"examples/worker":       {".", "client"},

	"internal/nest":     {},
	"internal/record":   {".", "internal/nest"},
	"internal/auth":     {"."},
	"internal/catalog":  {".", "internal/record"},
	"internal/watch":    {".", "internal/catalog"},
	"internal/history":  {"."},
	"internal/lease":    {"."},
	"internal/session":  {".", "internal/lease"},
	"internal/judge":    {".", "internal/catalog", "internal/lease"},
	"internal/load":     {"."},
	"internal/liveness": {".", "internal/catalog", "internal/check", "internal/judge", "internal/lease", "internal/load", "internal/record"},
	"internal/webhook":  {"."},
	"internal/check":    {".", "internal/egress"},
	"internal/egress":   {},
	"internal/resolve":  {".", "internal/catalog", "internal/filter", "internal/geo", "internal/index", "internal/load", "internal/record"},
	"internal/filter":   {".", "internal/record"},
	"internal/geo":      {"."},
	"internal/index":    {".", "internal/catalog", "internal/geo", "internal/record"},

	"internal/lease/simulation": {".", "internal/lease"},
	"internal/balance":          {".", "client/balancer", "internal/catalog", "internal/load", "internal/record", "internal/resolve"},

	"internal/store":           {"."},
	"internal/store/local":     {".", "internal/record", "internal/store"},
	"internal/store/memory":    {".", "internal/store"},
	"internal/store/storetest": {".", "internal/record", "internal/store"},

	"internal/registry": {
		".", "internal/auth", "internal/catalog", "internal/check", "internal/egress", "internal/heap", "internal/history", "internal/index", "internal/judge", "internal/liveness", "internal/load",
		"internal/record", "internal/resolve", "internal/session", "internal/watch",
	},

	"internal/registry/modeltest": {".", "internal/..."}, // tests alone

	"internal/httpapi":          {".", "internal/auth", "internal/catalog", "internal/httpapi/...", "internal/resolve", "internal/watch"},
	"internal/httpapi/form":     {"."},
	"internal/httpapi/cork":     {},
	"internal/httpapi/compress": {},
	"internal/httpapi/quote":    {},
	"internal/httpapi/problem":  {".", "internal/httpapi/quote", "internal/watch"},
	"internal/httpapi/session":  {".", "internal/httpapi/form", "internal/httpapi/problem", "internal/httpapi/quote"},
	"internal/httpapi/delivery": {"internal/httpapi/cork"}, // tests alone
	"internal/httpapi/stream": {
		".", "internal/catalog", "internal/httpapi/compress", "internal/httpapi/delivery", "internal/httpapi/quote",
		"internal/resolve", "internal/watch",
	},

	"internal/grpcapi":        {".", "api/rollcall/v1", "internal/auth", "internal/catalog", "internal/grpcapi/...", "internal/nest", "internal/record", "internal/resolve", "internal/watch"},
	"internal/grpcapi/aside":  {},
	"internal/grpcapi/form":   {".", "api/rollcall/v1", "internal/record"},
	"internal/grpcapi/sender": {"internal/catalog", "internal/watch"},
	"internal/sniff":          {},

	"internal/dnsapi":         {".", "internal/auth", "internal/catalog", "internal/dnsapi/...", "internal/record", "internal/resolve", "internal/watch"},
	"internal/dnsapi/name":    {"."},
	"internal/dnsapi/place":   {".", "internal/geo"},
	"internal/dnsapi/limit":   {},
	"internal/dnsapi/forward": {},
	"internal/dnsapi/answer":  {".", "internal/catalog", "internal/record", "internal/resolve"},
	"internal/dnsapi/socket":  {},

	"internal/server":       {".", "internal/..."},
	"internal/heap":         {},
	"internal/rollcalltest": {"internal/server"},
	"internal/bench":        {".", "client"},
	"internal/demo":         {".", "client"},
	"cmd/rollcall/config":   {".", "internal/dnsapi/place", "internal/webhook"},
	"cmd/rollcall/table":    {".", "client"},
	"cmd/rollcall/flags":    {".", "cmd/rollcall/config", "internal/server"},
	"cmd/rollcall":          {".", "client", "cmd/rollcall/config", "cmd/rollcall/flags", "cmd/rollcall/table", "internal/bench", "internal/demo", "internal/heap", "internal/server"},
}

// tests may import, beside what their package may, what they drive it with.
var testsMayImport = []string{".", "api/rollcall/v1", "client", "client/internal/line", "client/internal/problem", "internal/record", "internal/registry", "internal/store/...", "internal/server", "internal/rollcalltest"}

type goFile struct {
	path, dir string
	test      bool
	lines     int
	generated bool
	imports   []string
	doc       string
}

func goFiles(t *testing.T) (files []goFile) {
	t.Helper()
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != "." && (d.Name()[0] == '.' || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil && p != "." {
				return filepath.SkipDir // a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), p, src, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		f := goFile{path: filepath.ToSlash(p), dir: path.Dir(filepath.ToSlash(p)), test: strings.HasSuffix(p, "_test.go")}
		f.doc = parsed.Doc.Text()
		for s := bufio.NewScanner(strings.NewReader(string(src))); s.Scan(); f.lines++ {
			f.generated = f.generated || strings.HasPrefix(s.Text(), "// Code generated ")
		}
		for _, i := range parsed.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if name == module {
				f.imports = append(f.imports, ".")
			} else if name, ok := strings.CutPrefix(name, module+"/"); ok {
				f.imports = append(f.imports, name)
			} else if strings.Contains(strings.Split(name, "/")[0], ".") && f.dir == "." && !f.test {
				t.Errorf("%s imports %s: the root package depends on the standard library alone", p, name)
			}
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func allowed(table []string, name string) bool {
	return slices.ContainsFunc(table, func(a string) bool {
		prefix, below := strings.CutSuffix(a, "/...")
		return a == name || below && strings.HasPrefix(name, prefix+"/")
	})
}

func TestImports(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range goFiles(t) {
		if strings.HasPrefix(f.dir, "test/") {
			continue // black-box tests
		}
		table, ok := mayImport[f.dir]
		if !ok {
			t.Errorf("%s: package %s is not in the import table; say there what it may import", f.path, f.dir)
		}
		seen[f.dir] = true
		for _, name := range f.imports {
			if allowed(table, name) || f.test && (allowed(testsMayImport, name) || name == f.dir) {
				continue
			}
			t.Errorf("%s imports %s: not in the import table", f.path, name)
		}
	}
	for dir := range mayImport {
		if !seen[dir] {
			t.Errorf("package %s stands in the import table and does not exist", dir)
		}
	}
}

func TestBudgets(t *testing.T) {
	const wanted, hard, perPackage = 600, 800, 2500
	lines := map[string]int{}
	for _, f := range goFiles(t) {
		if f.generated {
			continue
		}
		switch {
		case f.lines > hard:
			t.Errorf("%s has %d lines; %d are the limit", f.path, f.lines, hard)
		case f.lines > wanted:
			t.Logf("%s has %d lines; %d are wanted", f.path, f.lines, wanted)
		}
		if !f.test {
			lines[f.dir] += f.lines
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(lines)) {
		if lines[dir] > perPackage {
			t.Errorf("package %s has %d lines without tests; %d are the limit", dir, lines[dir], perPackage)
		}
	}
}

func TestPackageDocs(t *testing.T) {
	docs := map[string][]string{}
	for _, f := range goFiles(t) {
		if f.test || strings.HasPrefix(f.dir, "test/") {
			continue
		}
		if _, ok := docs[f.dir]; !ok {
			docs[f.dir] = nil
		}
		if f.doc != "" {
			docs[f.dir] = append(docs[f.dir], f.path)
		}
	}
	for dir, files := range docs {
		if len(files) != 1 {
			t.Errorf("package %s has its documentation in %d files %v; it belongs into one", dir, len(files), files)
		}
	}
}

func TestNames(t *testing.T) {
	for _, f := range goFiles(t) {
		switch path.Base(f.dir) {
		case "util", "utils", "common", "helpers", "misc", "types", "models":
			t.Errorf("%s: a package is named after what it provides, not %q", f.path, path.Base(f.dir))
		}
	}
}
