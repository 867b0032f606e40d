package check

import (
	"strings"
	"testing"

	"github.com/rollcall-registry/rollcall"
)

// letters writes statuses as in "HDU-": healthy, degraded, unhealthy, none.
var letters = map[byte]rollcall.Status{'H': rollcall.Healthy, 'D': rollcall.Degraded, 'U': rollcall.Unhealthy, 'X': rollcall.Unhealthy, '-': 0}

func TestStep(t *testing.T) {
	for _, tt := range []struct {
		rise, fall int
		outcomes   string // X is hard
		want       string // the status after each
	}{
		{2, 3, "H", "H"}, {2, 3, "U", "U"}, {2, 3, "D", "D"}, // the first counts at once
		{2, 3, "-H", "-H"}, {2, 3, "--U", "--U"},
		{2, 3, "HUUU", "HHHU"}, {2, 3, "UHH", "UUH"},
		{2, 3, "HUUHUUU", "HHHHHHU"}, // in a row
		{2, 3, "UHUHH", "UUUUH"},
		{2, 3, "HUU-U", "HHHHU"}, // none is not a break
		{1, 1, "HUHDU", "HUHDU"},
		{2, 3, "HDDD", "HHHD"}, {2, 3, "DHH", "DDH"}, {2, 3, "DUUU", "DDDU"},
		{2, 3, "HUUD", "HHHD"}, {2, 3, "HDDU", "HHHU"}, // worse is worse; the last one says how bad
		{2, 3, "UDH", "UUH"}, {2, 3, "UHD", "UUD"},
		{2, 2, "DHUHUU", "DDDDDU"}, {2, 3, "DUUHH", "DDDDH"}, // better and worse do not add up
		{3, 1, "HUHHUHHH", "HUUUUUUH"},
		{2, 3, "HXX", "HHH"},
	} {
		var s standing
		var got strings.Builder
		for _, letter := range []byte(tt.outcomes) {
			s = step(s, Outcome{Status: letters[letter], Output: string(letter), Hard: letter == 'X'}, tt.rise, tt.fall)
			for l, status := range letters {
				if status == s.status && l != 'X' {
					got.WriteByte(l)
				}
			}
		}
		if got.String() != tt.want {
			t.Errorf("rise %d, fall %d, %s: %s, want %s", tt.rise, tt.fall, tt.outcomes, &got, tt.want)
		}
	}
}

// Hard evidence counts from the moment at which the check stands as unhealthy.
func TestStepHard(t *testing.T) {
	for outcomes, want := range map[string]bool{
		"X": true, "U": false, "UX": true, "XU": true, "HXXX": true, "HXXU": false, "HUUX": true, "HX": false, "XHH": false, "XHHUUU": false,
	} {
		var s standing
		for _, letter := range []byte(outcomes) {
			s = step(s, Outcome{Status: letters[letter], Output: string(letter), Hard: letter == 'X'}, 2, 3)
		}
		if s.hard != want || s.hard && s.reason != "X" {
			t.Errorf("%s: %+v, want hard %v", outcomes, s, want)
		}
	}
}
