package filter

import (
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

func TestWhy(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{`cap.gpu >= 2`, ``},
		{`cap.gpu >= 3`, `cap.gpu >= 3 is false: it has 2`},
		{`cap.gpu >= 2 && "vp9" in cap.codecs && id == "x"`, `"vp9" in cap.codecs is false: it has ["h264","av1"]`},
		{`cap.tpu >= 2`, `cap.tpu >= 2: it has no capability tpu`},
		{`id != "" && (cap.gpu > 1 && cap["odd"] == 3)`, `cap["odd"] == 3: it has no capability odd`},
		{`(cap.gpu > 2 && id != "") && true`, `cap.gpu > 2 is false: it has 2`},
		{`(cap.gpu > 2 || id == "x") && true`, `(cap.gpu > 2 || id == "x") is false: its gpu is 2, its id is "payments-7f9c"`},
		{`id == "é" || (id == "🙂") || false`, `id == "é" || (id == "🙂") || false is false: its id is "payments-7f9c"`},
		{"id != \"🙂é\" &&\n\tcap.gpu  ==\n 7", `cap.gpu == 7 is false: it has 2`},
		{`cap.gpu * 2 > cap.sizes.size()`, ``},
		{`cap.gpu > size(cap.sizes)`, `cap.gpu > size(cap.sizes) is false: its gpu is 2, its sizes is [1,2.5]`},
		{`has(cap.tpu)`, `has(cap.tpu) is false: it has no capability tpu`},
		{`!has(cap.gpu)`, `!has(cap.gpu) is false: it has 2`},
		{`cap.gpu < "x"`, `cap.gpu < "x": its value is of another kind: it has 2`},
		{`cap.gpu`, `cap.gpu is neither true nor false: it has 2`},
		{`"tpu" in cap`, `"tpu" in cap is false`},
		{`cap.codecs.all(c, c == "av1")`, `cap.codecs.all(c, c == "av1") is false: it has ["h264","av1"]`},
		{`meta.team == "search"`, `meta.team == "search" is false: its metadata team is "checkout"`},
		{`meta.owner == "search"`, `meta.owner == "search": it has no metadata owner`},
		{`ports.http == 80`, `ports.http == 80 is false: its port http is 8080`},
		{`ports.admin == 80`, `ports.admin == 80: it has no port admin`},
		{`health == "degraded"`, `health == "degraded" is false: its health is "healthy"`},
		{`weight < 100`, `weight < 100 is false: its weight is 100`},
		{`semver(version) > semver("3")`, `semver(version) > semver("3") is false: its version is "2.4.1"`},
		{`semver(node) > semver("3")`, `semver(node) > semver("3"): "host-17" is not a semantic version`},
		{`locality.zone == "b"`, `locality.zone == "b" is false: its locality.zone is "eu-west-1a"`},
		{`locality.sub_zone == "b"`, `locality.sub_zone == "b": its locality.sub_zone is not known`},
		{`position.lat < 0`, `position.lat < 0 is false: its position.lat is 52.52`},
		{`load.in_flight < 3`, `load.in_flight < 3 is false: its load.in_flight is 3`},
		{`false`, `false is false`},
		{`1 / 0 == 1`, `1 / 0 == 1: division by zero`},
	} {
		f, err := Compile(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if tt.want != "" {
			tt.want = "filter: " + tt.want
		}
		if why := f.Why(typical()); why != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.text, why, tt.want)
		}
	}
}

func TestWhyOfWhatIsNotKnown(t *testing.T) {
	for text, want := range map[string]string{
		`load.rps > 1`:                  `filter: load.rps > 1: its load.rps is not known`,
		`semver(version) > semver("1")`: `filter: semver(version) > semver("1"): it has no version`,
	} {
		f, err := Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		if why := f.Why(bareSubject()); why != want {
			t.Errorf("%s:\n%s\nwant\n%s", text, why, want)
		}
	}
}

// TestWhyIsShort: neither long conditions nor long values are shown in full.
func TestWhyIsShort(t *testing.T) {
	f, err := Compile(`node == "` + strings.Repeat("é", 1000) + `"`)
	if err != nil {
		t.Fatal(err)
	}
	if why := f.Why(subject(rollcall.Instance{Service: "s", ID: "i", Node: strings.Repeat("n", 500)})); len(why) > 400 {
		t.Errorf("%d bytes: %s", len(why), why)
	}
}
