package httpapi_test

import (
	"bytes"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall/internal/httpapi"
)

var update = flag.Bool("update", false, "write the golden files anew")

// exchange is one request of a golden file and what came back.
//
//	# A comment.
//	> METHOD PATH
//	> Header: value
//	body
//	< STATUS
//	< Header: value
//	body
type exchange struct {
	comment string
	method  string
	path    string
	headers []string
	body    string
	answer  string
}

func parse(t *testing.T, text string) (all []exchange) {
	t.Helper()
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		var e exchange
		answered := false
		for line := range strings.SplitSeq(strings.TrimSpace(block), "\n") {
			switch {
			case answered || strings.HasPrefix(line, "< "):
				answered = true
				e.answer += line + "\n"
			case e.method == "" && strings.HasPrefix(line, "#"):
				e.comment += line + "\n"
			case e.method == "" && strings.HasPrefix(line, "> "):
				e.method, e.path, _ = strings.Cut(line[2:], " ")
			case strings.HasPrefix(line, "> "):
				name, value, _ := strings.Cut(line[2:], ": ")
				e.headers = append(e.headers, name, value)
			default:
				e.body += line + "\n"
			}
		}
		if e.method == "" && e.comment == "" {
			t.Fatalf("no request in %q", block)
		}
		all = append(all, e)
	}
	return all
}

// What differs from run to run.
var volatile = []struct {
	of *regexp.Regexp
	is string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "TIME"},
	{regexp.MustCompile(`[0-9a-f]{16}-(\d+)-\d{19,}`), "LOGID-$1-RESULT"},
	{regexp.MustCompile(`[0-9a-f]{16}-(\d+-\d+)`), "LOGID-$1"},
	{regexp.MustCompile(`"log_id":"[0-9a-f]{16}"`), `"log_id":"LOGID"`},
	{regexp.MustCompile(`"[A-Z2-7]{16}"`), `"SUBSCRIPTION"`},
	{regexp.MustCompile(`heard from \S+ ago`), `heard from A WHILE ago`},
	{regexp.MustCompile(`"elapsed":"[^"]*"`), `"elapsed":"ELAPSED"`},
	{regexp.MustCompile(`"memory_bytes":\d+`), `"memory_bytes":N`},
	{regexp.MustCompile(`"age_ms":\d+`), `"age_ms":N`},
	{regexp.MustCompile(`Age-Ms: \d+`), `Age-Ms: N`},
	{regexp.MustCompile(`-[a-z2-7]{10}\b`), "-CHOSEN"},
}

func steady(s string) string {
	for _, v := range volatile {
		s = v.of.ReplaceAllString(s, v.is)
	}
	return s
}

func (r *response) golden() string {
	var b strings.Builder
	b.WriteString("< " + r.Status + "\n")
	var names []string
	for name := range r.Header {
		switch name {
		case "Date", "Content-Length", "X-Content-Type-Options", "Cache-Control":
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		b.WriteString("< " + name + ": " + strings.Join(r.Header[name], ", ") + "\n")
	}
	b.Write(bytes.TrimSpace(r.body))
	return strings.TrimSpace(steady(b.String())) + "\n"
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	spec := newSpec(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, httpapi.Options{})
			subscription := "" // that was told of last
			var got strings.Builder
			for n, e := range parse(t, string(text)) {
				if n > 0 {
					got.WriteString("\n")
				}
				got.WriteString(e.comment)
				if e.method == "" {
					continue
				}
				log := string(w.logID())
				body := strings.NewReplacer("LOGID", log, "SUBSCRIPTION", subscription).Replace(e.body)
				r := w.do(e.method, strings.ReplaceAll(e.path, "LOGID", log), body, replaced(e.headers, "LOGID", log)...)
				if m := regexp.MustCompile(`"subscription":"([A-Z2-7]{16})"`).FindSubmatch(r.body); m != nil {
					subscription = string(m[1])
				}
				spec.check(t, r, e.body)
				got.WriteString("> " + e.method + " " + e.path + "\n")
				for i := 0; i < len(e.headers); i += 2 {
					got.WriteString("> " + e.headers[i] + ": " + e.headers[i+1] + "\n")
				}
				got.WriteString(e.body + r.golden())
			}
			if *update {
				if err := os.WriteFile(file, []byte(got.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(text), got.String()); diff != "" {
				t.Errorf("%s (-want +got; -update writes it anew):\n%s", file, diff)
			}
		})
	}
	spec.covered(t)
}

func replaced(list []string, old, new string) []string {
	list = slices.Clone(list)
	for i := range list {
		list[i] = strings.ReplaceAll(list[i], old, new)
	}
	return list
}

func (w *world) logID() string {
	st, err := w.reg.Status(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return string(st.LogID)
}

var _ http.Handler = (*httpapi.Server)(nil)
