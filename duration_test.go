package rollcall_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
)

func TestDurationText(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"},
		{1, "1ns"},
		{1500 * time.Microsecond, "1.5ms"},
		{15 * time.Second, "15s"},
		{time.Minute, "1m"},
		{90 * time.Second, "1m30s"},
		{10 * time.Minute, "10m"},
		{time.Hour, "1h"},
		{time.Hour + 10*time.Minute, "1h10m"},
		{time.Hour + time.Second, "1h0m1s"},
		{100 * time.Hour, "100h"},
		{-time.Minute, "-1m"},
		{1<<63 - 1, "2562047h47m16.854775807s"},
		{-1 << 63, "-2562047h47m16.854775808s"},
	} {
		if got := rollcall.Duration(tt.d).String(); got != tt.want {
			t.Errorf("%d ns read %q, want %q", tt.d, got, tt.want)
		}
	}
}

func TestDurationRoundTrip(t *testing.T) {
	rng := newRand(t)
	units := []int64{1, 1e3, 1e6, 1e9, 60e9, 3600e9}
	for range 5000 {
		d := rollcall.Duration((rng.Int64N(2001) - 1000) * units[rng.IntN(len(units))] * (1 + rng.Int64N(60)))
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		var back rollcall.Duration
		if err := json.Unmarshal(b, &back); err != nil || back != d {
			t.Fatalf("%d reads back from %s as %d, %v", d, b, back, err)
		}
	}
}

func TestDurationRefuses(t *testing.T) {
	for _, s := range []string{"", "15", "fifteen", "1m 30s", "1d", "9223372036854775808ns", strings.Repeat("9", 1<<16)} {
		var d rollcall.Duration
		err := d.UnmarshalText([]byte(s))
		if err == nil {
			t.Errorf("%q was read as %v", s, d)
		} else if len(err.Error()) > 200 {
			t.Errorf("an error of %d bytes about %.20q", len(err.Error()), s)
		}
	}
}
