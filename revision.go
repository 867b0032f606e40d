package rollcall

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Revision numbers the states of one log. It rises with every change and may
// skip; 0 is "before the first".
type Revision uint64

// LogID is the identity of a log, drawn at random when it is created, restored
// or migrated: 16 lower-case hexadecimal digits. Revisions of different logs do
// not compare.
type LogID string

// NewLogID draws a LogID.
func NewLogID() LogID {
	var b [8]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return LogID(hex.EncodeToString(b[:]))
}

// Valid reports whether id is well formed.
func (id LogID) Valid() bool {
	if len(id) != 16 {
		return false
	}
	return strings.Trim(string(id), "0123456789abcdef") == ""
}

// Token names a state that a reader has seen: that of a log at a revision, with
// the member's soft state at a generation. It reads "LOGID-REVISION-GENERATION".
type Token struct {
	Log        LogID
	Revision   Revision
	Generation uint64
}

// ParseToken reads what [Token.String] writes.
func ParseToken(s string) (Token, error) {
	id, rest, _ := strings.Cut(s, "-")
	rev, gen, ok := strings.Cut(rest, "-")
	r, rerr := strconv.ParseUint(rev, 10, 64)
	g, gerr := strconv.ParseUint(gen, 10, 64)
	if !ok || rerr != nil || gerr != nil || !LogID(id).Valid() {
		return Token{}, fmt.Errorf("%.80q is not a token: pass back what a response's token field said", s)
	}
	return Token{LogID(id), Revision(r), g}, nil
}

// IsZero reports whether t names no state.
func (t Token) IsZero() bool { return t.Log == "" }

// String returns the token's text, "" for the zero token.
func (t Token) String() string {
	if t.IsZero() {
		return ""
	}
	return string(t.AppendTo(nil))
}

// AppendTo appends the token's text to b.
func (t Token) AppendTo(b []byte) []byte {
	b = append(b, t.Log...)
	b = append(b, '-')
	b = strconv.AppendUint(b, uint64(t.Revision), 10)
	b = append(b, '-')
	return strconv.AppendUint(b, t.Generation, 10)
}

// MarshalText implements [encoding.TextMarshaler].
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (t *Token) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*t = Token{}
		return nil
	}
	*t, err = ParseToken(string(b))
	return err
}
