package rollcall

import (
	"fmt"
	"strings"
	"time"
)

// Duration is a [time.Duration] that reads and writes as Go duration text
// ("15s", "1m30s") in JSON.
type Duration time.Duration

// String returns the shortest Go duration text: "1m", not "1m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if t, ok := strings.CutSuffix(s, "m0s"); ok {
		s = t + "m"
	}
	if t, ok := strings.CutSuffix(s, "h0m"); ok {
		s = t + "h"
	}
	return s
}

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%.40q is not a duration: write it like 500ms, 15s or 1m30s", b)
	}
	*d = Duration(v)
	return nil
}
