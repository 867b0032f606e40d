package httpapi_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"mime"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/rollcall-registry/rollcall/internal/httpapi"
)

// spec is the OpenAPI document, to hold requests and answers against.
type spec struct {
	doc      map[string]any
	compiler *jsonschema.Compiler
	mux      *http.ServeMux
	seen     map[string]bool // "operation status"
}

const specURL = "rollcall:///openapi.json"

func newSpec(t testing.TB) *spec {
	t.Helper()
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	s := &spec{doc: parsed.(map[string]any), compiler: jsonschema.NewCompiler(), mux: http.NewServeMux(), seen: map[string]bool{}}
	s.compiler.DefaultDraft(jsonschema.Draft2020)
	s.compiler.AssertFormat()
	if err := s.compiler.AddResource(specURL, parsed); err != nil {
		t.Fatal(err)
	}
	for path, methods := range s.doc["paths"].(map[string]any) {
		for method := range methods.(map[string]any) {
			s.mux.HandleFunc(strings.ToUpper(method)+" "+path, http.NotFound)
		}
	}
	return s
}

// at follows a path of members and references.
func (s *spec) at(v any, names ...string) (any, string) {
	where := "#"
	for _, name := range names {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, ""
		}
		if v, ok = m[name]; !ok {
			return nil, ""
		}
		where += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		if ref, ok := v.(map[string]any)["$ref"].(string); ok {
			v, where = s.at(s.doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
	}
	return v, where
}

// validate holds a JSON text against the schema at a place.
func (s *spec) validate(t testing.TB, where string, text []byte) {
	t.Helper()
	schema, err := s.compiler.Compile(specURL + where)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	if err := schema.Validate(v); err != nil {
		t.Errorf("%s\nis not as openapi.json says: %v", text, err)
	}
}

// check holds an exchange against the document: the status is one it declares,
// the answer is of its type and form, and so is a request that was accepted.
func (s *spec) check(t testing.TB, r *response, body string) {
	t.Helper()
	_, pattern := s.mux.Handler(r.Request)
	if pattern == "" || r.Request.Method == http.MethodHead {
		return // not there, or not in that method
	}
	method, path, _ := strings.Cut(pattern, " ")
	method = strings.ToLower(method)
	code := strconv.Itoa(r.StatusCode)
	op, _ := s.at(s.doc, "paths", path, method)
	s.seen[op.(map[string]any)["operationId"].(string)+" "+code] = true

	declared, where := s.at(s.doc, "paths", path, method, "responses", code)
	if declared == nil && r.StatusCode < 400 {
		t.Errorf("%s %s answers %s, which is not declared", method, path, code)
		return
	}
	if declared == nil {
		declared, where = s.at(s.doc, "paths", path, method, "responses", "default")
	}
	content, _ := s.at(declared, "content")
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case content == nil && len(r.body) > 0:
		t.Errorf("%s %s answers %s with a body, which is not declared: %s", method, path, code, r.body)
	case content == nil:
	case content.(map[string]any)[media] == nil:
		t.Errorf("%s %s answers %s as %s, which is not declared", method, path, code, media)
	case strings.Contains(media, "json") && media != "application/x-ndjson":
		s.validate(t, where+"/content/"+strings.ReplaceAll(media, "/", "~1")+"/schema", r.body)
	}
	if r.StatusCode < 300 && body != "" && !bytes.Contains(r.body, []byte(`"error":{`)) {
		s.checkRequest(t, path, method, r.Request, body)
	}
}

func (s *spec) checkRequest(t testing.TB, path, method string, r *http.Request, body string) {
	t.Helper()
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if media == "" || media == "application/x-www-form-urlencoded" {
		media = "application/json"
	}
	schema, _ := s.at(s.doc, "paths", path, method, "requestBody", "content", media)
	if schema == nil {
		t.Errorf("%s %s takes %s, which is not declared", method, path, media)
		return
	}
	where := "#/paths/" + strings.ReplaceAll(path, "/", "~1") + "/" + method + "/requestBody/content/" + strings.ReplaceAll(media, "/", "~1") + "/schema"
	if media != "application/x-ndjson" {
		s.validate(t, where, []byte(body))
		return
	}
	for line := range strings.Lines(body) {
		s.validate(t, where, []byte(line))
	}
}

// covered fails the test if an operation was never seen to succeed in a way
// that the document declares.
func (s *spec) covered(t testing.TB) {
	t.Helper()
	for _, methods := range s.doc["paths"].(map[string]any) {
		for _, op := range methods.(map[string]any) {
			op := op.(map[string]any)
			id := op["operationId"].(string)
			switch id {
			case "watch", "watchService", "backup", "getOpenAPI", "session":
				continue // have tests of their own
			}
			for code := range op["responses"].(map[string]any) {
				if code < "400" && !s.seen[id+" "+code] {
					t.Errorf("%s %s is declared and in no golden file", id, code)
				}
			}
		}
	}
}

func TestOpenAPIHasTheRoutes(t *testing.T) {
	s := newSpec(t)
	var got []string
	for path, methods := range s.doc["paths"].(map[string]any) {
		for method, op := range methods.(map[string]any) {
			params := s.parameters(t, op.(map[string]any))
			got = append(got, strings.ToUpper(method)+" "+path+" "+op.(map[string]any)["operationId"].(string)+" "+strings.Join(params, " "))
		}
	}
	var want []string
	for _, r := range httpapi.Routes() {
		want = append(want, r.Method+" "+r.Pattern+" "+r.Operation+" "+strings.Join(r.Params, " "))
	}
	slices.Sort(got)
	slices.Sort(want)
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("not in openapi.json: %s", w)
		}
	}
	for _, g := range got {
		if !slices.Contains(want, g) {
			t.Errorf("only in openapi.json: %s", g)
		}
	}
}

// parameters returns an operation's query parameters, sorted.
func (s *spec) parameters(t *testing.T, op map[string]any) []string {
	names := map[string]bool{}
	list, _ := op["parameters"].([]any)
	for _, p := range list {
		if ref, ok := p.(map[string]any)["$ref"].(string); ok {
			if p, _ = s.at(s.doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...); p == nil {
				t.Fatalf("%s leads nowhere", ref)
			}
		}
		if p := p.(map[string]any); p["in"] == "query" {
			names[p["name"].(string)] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func TestOpenAPIIsServed(t *testing.T) {
	w := newWorld(t, httpapi.Options{})
	text, err := os.ReadFile("openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	r := w.do("GET", "/api/v1/openapi.json", "").want(200)
	if !bytes.Equal(r.body, text) || !json.Valid(text) {
		t.Error("openapi.json is not what is served")
	}
	packed := w.do("GET", "/api/v1/openapi.json", "", "Accept-Encoding", "gzip").want(200)
	if got := unzip(t, packed.body); packed.Header.Get("Content-Encoding") != "gzip" || !bytes.Equal(got, text) {
		t.Error("the compressed openapi.json is another")
	}
}

func TestSchemasCompile(t *testing.T) {
	s := newSpec(t)
	schemas, _ := s.at(s.doc, "components", "schemas")
	for name := range schemas.(map[string]any) {
		if _, err := s.compiler.Compile(specURL + "#/components/schemas/" + name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
