package httpapi_test

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall/internal/httpapi"
)

const reference = "../../docs/http.md"

// The reference has a heading and a line of its table for each route, names
// each parameter, and names none that is not there.
func TestReferenceHasTheRoutes(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, r := range httpapi.Routes() {
		want = append(want, r.Method+" "+r.Pattern)
		for _, p := range r.Params {
			if !regexp.MustCompile("`\\??" + regexp.QuoteMeta(p) + "[`=]").Match(text) {
				t.Errorf("%s does not tell of the parameter %s", reference, p)
			}
		}
	}
	slices.Sort(want)
	for what, expr := range map[string]string{
		"headings": `(?m)^### ([A-Z]+) (/\S+)$`,
		"table":    "(?m)^\\| `([A-Z]+)` \\| `(/\\S+)` \\|",
	} {
		var got []string
		for _, m := range regexp.MustCompile(expr).FindAllSubmatch(text, -1) {
			got = append(got, string(m[1])+" "+string(m[2]))
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s of %s (-routes +reference):\n%s", what, reference, diff)
		}
	}
}

// The examples are run, one after the other, and print what they say. With
// -update, what they print is written.
func TestReferenceExamples(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, httpapi.Options{})
	got := regexp.MustCompile("(?s)```console\n.*?```").ReplaceAllStringFunc(string(text), func(block string) string {
		var b strings.Builder
		b.WriteString("```console\n")
		for line := range strings.Lines(block) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				b.WriteString(line + w.curl(strings.TrimSuffix(command, "\n")))
			}
		}
		return b.String() + "```"
	})
	spec := newSpec(t)
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		for line := range strings.Lines(block[1]) {
			spec.validate(t, "#/components/schemas/Record", []byte(line))
		}
	}
	if *update {
		if err := os.WriteFile(reference, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(steady(string(text)), steady(got)); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", reference, diff)
	}
}

// curl runs a command line of curl, as far as the reference uses it.
func (w *world) curl(command string) string {
	w.t.Helper()
	input, upload, piped := strings.Cut(command, " | ")
	if piped {
		command = upload
	}
	var args []string
	for _, m := range regexp.MustCompile(`'([^']*)'|(\S+)`).FindAllStringSubmatch(command, -1) {
		args = append(args, m[1]+m[2])
	}
	method, path, body := "", "", ""
	var headers []string
	head, stream := false, false
	for i := 1; i < len(args); i++ {
		value := func() string { i++; return args[i] }
		switch arg := args[i]; arg {
		case "-X":
			method = value()
		case "-d":
			body = value()
		case "-H":
			name, v, _ := strings.Cut(value(), ": ")
			headers = append(headers, name, v)
		case "-i":
			head = true
		case "-N":
			stream = true
		case "-T":
			value() // what comes through the pipe
		default:
			var ok bool
			if path, ok = strings.CutPrefix(arg, "localhost:7070"); !ok {
				w.t.Fatalf("what is %q in %s?", arg, command)
			}
		}
	}
	if piped {
		in := strings.NewReplacer(`printf '`, "", `\n`, "\n").Replace(strings.TrimSuffix(input, "'"))
		return newWorld(w.t, httpapi.Options{}).converse(path, in) // leaves no trace in the other examples
	}
	if stream {
		s := w.watch(path, headers...)
		defer s.stop()
		return s.next("snapshot").text + "\n"
	}
	if method == "" && body != "" {
		method = "POST"
	}
	if body != "" && !slices.Contains(headers, "Content-Type") {
		headers = append(headers, "Content-Type", "application/x-www-form-urlencoded")
	}
	r := w.do(method, path, body, headers...)
	var out bytes.Buffer
	if head {
		out.WriteString("HTTP/1.1 " + r.Status + "\n")
		var lines []string
		for name, values := range r.Header {
			lines = append(lines, name+": "+values[0])
		}
		slices.Sort(lines)
		for _, line := range lines {
			if !strings.HasPrefix(line, "Date:") && !strings.HasPrefix(line, "Content-Length:") {
				out.WriteString(line + "\n")
			}
		}
		out.WriteString("\n")
	}
	out.Write(r.body)
	return strings.TrimSuffix(out.String(), "\n\n") + map[bool]string{true: "\n"}[strings.HasSuffix(out.String(), "\n\n")]
}

// What is taken and has no effect yet is said to have none, wherever it is
// described.
func TestNothingIsSilentlyIgnored(t *testing.T) {
	text, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	s := newSpec(t)
	for name, places := range map[string][][]string{
		"position_rate": {{"components", "schemas", "Settings", "properties", "position_rate"}},
	} {
		if !regexp.MustCompile("(?m)^\\| `" + name + "` \\|.*(no|without) effect").Match(text) {
			t.Errorf("%s does not say that %s has no effect", reference, name)
		}
		for _, place := range places {
			v, _ := s.at(s.doc, place...)
			if m, ok := v.(map[string]any)[name].(map[string]any); ok {
				v = m
			}
			if d, _ := v.(map[string]any)["description"].(string); !strings.Contains(d, "no effect") {
				t.Errorf("openapi.json does not say that %s has no effect: %v", name, v)
			}
		}
	}
}
