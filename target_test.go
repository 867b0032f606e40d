package rollcall_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rollcall-registry/rollcall"
)

func TestParseTarget(t *testing.T) {
	for _, tt := range []struct {
		types  string
		target string
		want   rollcall.Target
	}{
		{"http https", "", rollcall.Target{Path: "/"}},
		{"http https", "/healthz?full=1&x=%20", rollcall.Target{Path: "/healthz?full=1&x=%20"}},
		{"http https", ":8081", rollcall.Target{Port: "8081", Path: "/"}},
		{"http https", ":65535/a/b:c", rollcall.Target{Port: "65535", Path: "/a/b:c"}},
		{"http https", ":admin/ready", rollcall.Target{Port: "admin", Path: "/ready"}},
		{"http https", ":8080-tcp/ready", rollcall.Target{Port: "8080-tcp", Path: "/ready"}},
		{"http", "http://10.0.0.1/", rollcall.Target{Host: "10.0.0.1", Port: "80", Path: "/"}},
		{"http", "http://10.0.0.1:81", rollcall.Target{Host: "10.0.0.1", Port: "81", Path: "/"}},
		{"http", "http://db.example/x", rollcall.Target{Host: "db.example", Port: "80", Path: "/x"}},
		{"http", "http://[2001:db8::1]:8080/x", rollcall.Target{Host: "2001:db8::1", Port: "8080", Path: "/x"}},
		{"http", "http://[2001:db8::1]", rollcall.Target{Host: "2001:db8::1", Port: "80", Path: "/"}},
		{"https", "https://db/x", rollcall.Target{Host: "db", Port: "443", Path: "/x"}},
		{"http", "/http://x", rollcall.Target{Path: "/http://x"}},
		{"tcp", "", rollcall.Target{}},
		{"tcp grpc", ":22", rollcall.Target{Port: "22"}},
		{"tcp grpc", ":ssh", rollcall.Target{Port: "ssh"}},
		{"tcp grpc", "db:5432", rollcall.Target{Host: "db", Port: "5432"}},
		{"tcp grpc", "[::1]:5432", rollcall.Target{Host: "::1", Port: "5432"}},
		{"grpc", "/", rollcall.Target{}},
		{"grpc", "/pay.v1.Payments", rollcall.Target{Path: "pay.v1.Payments"}},
		{"grpc", "10.0.0.1:9090/pay.v1.Payments", rollcall.Target{Host: "10.0.0.1", Port: "9090", Path: "pay.v1.Payments"}},
		{"exec", "/bin/check  -v 'a b'", rollcall.Target{Command: []string{"/bin/check", "-v", "'a", "b'"}}},
	} {
		for typ := range strings.FieldsSeq(tt.types) {
			c := rollcall.Check{Type: rollcall.CheckType(typ), Target: tt.target}
			got, err := c.ParseTarget()
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("%s %q: %v %s", typ, tt.target, err, diff)
			}
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	for typ, targets := range map[rollcall.CheckType][]string{
		rollcall.CheckHTTP: {
			"healthz", "10.0.0.1", "10.0.0.1:80/x", "https://10.0.0.1/", "HTTP://10.0.0.1/", "http://", "http:///x", "http://:80/x", "http://u@h/",
			"http://u:p@h/", "http://h:0/", "http://h:65536/", "http://h:/", "http://h:admin/", "http://[::1/", "http://[10.0.0.1]/", "http://::1/",
			"http://[::1]x/", "http://[fe80::1%25eth0]/", "http://h?x", "http://h\\x/", ":0/", ":08/", ":/", ":-1/", ":65536/", ":a b/", "//x:80y\n",
			"/a b", "/a\r\nHost: x", "/\x00", "/ä", "/a#b", "http://h/\n",
		},
		rollcall.CheckTCP:  {"10.0.0.1", "/x", ":22/x", "22", "db:ssh", ":", "[::1]", "a b:1"},
		rollcall.CheckGRPC: {"db/service", ":1/a b", ":1/\n", "http://x:1"},
		rollcall.CheckExec: {"", "  ", "/bin/x \x00"},
		rollcall.CheckTTL:  {"/x"},
	} {
		for _, target := range targets {
			c := rollcall.Check{Type: typ, Target: target}
			got, err := c.ParseTarget()
			if e, ok := errors.AsType[*rollcall.Error](err); !ok || e.Field != "target" || e.Detail == "" {
				t.Errorf("%s %q: %+v, %v", typ, target, got, err)
			}
		}
	}
}

func TestCheckDefaults(t *testing.T) {
	for _, tt := range []struct{ give, want rollcall.Check }{
		{rollcall.Check{Type: "tcp"}, rollcall.Check{Type: "tcp", Interval: dur(10 * time.Second), Timeout: dur(time.Second), Rise: 2, Fall: 3}},
		{rollcall.Check{Type: "tcp", Interval: dur(time.Second)}, rollcall.Check{Type: "tcp", Interval: dur(time.Second), Timeout: dur(time.Second / 2), Rise: 2, Fall: 3}},
		{rollcall.Check{Type: "tcp", Interval: 5, Timeout: 4, Rise: 1, Fall: 1}, rollcall.Check{Type: "tcp", Interval: 5, Timeout: 4, Rise: 1, Fall: 1}},
		{rollcall.Check{Type: "ttl"}, rollcall.Check{Type: "ttl"}},
	} {
		if got := tt.give.WithDefaults(); got != tt.want {
			t.Errorf("%+v, want %+v", got, tt.want)
		}
	}
}

// A target that is taken holds nothing that could end a line of a request.
func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"", "/x", ":80/x", "http://h:1/x", "http://[::1]:80", "https://h", "h:1/s", ":name", "/bin/x y"} {
		for _, typ := range []string{"http", "https", "tcp", "grpc", "exec"} {
			f.Add(typ, s)
		}
	}
	f.Fuzz(func(t *testing.T, typ, s string) {
		c := rollcall.Check{Type: rollcall.CheckType(typ), Target: s}
		got, err := c.ParseTarget()
		if err != nil || c.Type == rollcall.CheckExec {
			return
		}
		if strings.ContainsAny(got.Host+got.Port, "@/?#") || strings.ContainsAny(got.Host+got.Port+got.Path, " \t\r\n\x00") {
			t.Errorf("%s %q: %+v", typ, s, got)
		}
		if n, err := strconv.Atoi(got.Port); err == nil && (n < 1 || n > 65535) {
			t.Errorf("%s %q: port %d", typ, s, n)
		}
	})
}
