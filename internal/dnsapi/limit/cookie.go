package limit

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dchest/siphash"
)

const (
	clientCookie = 8 // bytes
	serverCookie = 16
	version      = 1 // of the server's cookie: RFC 9018, 4.1

	// secretFor is how long a secret makes cookies. Those of the one before are good
	// for as long as they would be anyhow.
	secretFor    = 24 * time.Hour
	cookieFor    = time.Hour
	cookiesAhead = 5 * time.Minute // by clocks that differ
)

// Cookies makes and knows the cookies that a server gives out (RFC 7873), in the
// form of RFC 9018: only who has received an answer at its address has the one for
// it. The secret is drawn at the start and anew every day, and leaves the process
// never. All may use it at once.
type Cookies struct {
	now     func() time.Time
	start   time.Time
	secrets atomic.Pointer[secrets]
	drawing sync.Mutex // held by who replaces secrets
}

type secrets struct {
	drawn       time.Duration // since the start
	now, before [2]uint64
	second      bool // there is one before
}

// NewCookies returns cookies of a secret of their own. What counts is the time when
// it is called and how much has passed since; nil is [time.Now].
func NewCookies(now func() time.Time) *Cookies {
	if now == nil {
		now = time.Now
	}
	c := &Cookies{now: now, start: now()}
	c.secrets.Store(&secrets{now: draw()})
	return c
}

// Formed reports whether a cookie option has a length that one may have: 8 bytes,
// the client's part alone, or 16 to 40. Another is an error of form (RFC 7873, 5.2.2).
func Formed(cookie []byte) bool {
	return len(cookie) == clientCookie || len(cookie) >= 16 && len(cookie) <= 40
}

// Append appends the cookie for a client: the first 8 bytes of what it sent, and 16 of
// ours, which are good for an hour. A client's cookie shorter than that adds nothing.
func (c *Cookies) Append(b, client []byte, from netip.Addr) []byte {
	if len(client) < clientCookie {
		return b
	}
	s, elapsed := c.current()
	at := len(b)
	b = append(b, client[:clientCookie]...)
	b = append(b, version, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, c.stamp(elapsed))
	return binary.LittleEndian.AppendUint64(b, hash(s.now, b[at:], from))
}

// Valid reports whether a cookie, both parts of it, is one that was made for this
// address within the last hour. How long that takes does not tell where it differs.
func (c *Cookies) Valid(cookie []byte, from netip.Addr) bool {
	if len(cookie) != clientCookie+serverCookie || cookie[clientCookie] != version {
		return false
	}
	s, elapsed := c.current()
	// A difference of serial numbers (RFC 1982): the stamp wraps in 2106.
	age := time.Duration(int32(c.stamp(elapsed)-binary.BigEndian.Uint32(cookie[12:]))) * time.Second
	if age > cookieFor || age < -cookiesAhead {
		return false
	}
	if same(s.now, cookie, from) {
		return true
	}
	return s.second && elapsed-s.drawn <= cookieFor && same(s.before, cookie, from)
}

func same(secret [2]uint64, cookie []byte, from netip.Addr) bool {
	var want [8]byte
	binary.LittleEndian.PutUint64(want[:], hash(secret, cookie[:16], from))
	return subtle.ConstantTimeCompare(want[:], cookie[16:]) == 1
}

// stamp is the time in a cookie. It comes from the start and what has passed since, so
// that a clock that is set does not make all cookies void.
func (c *Cookies) stamp(elapsed time.Duration) uint32 { return uint32(c.start.Add(elapsed).Unix()) }

// current returns the secrets of now, drawn anew if they are old, and how much time has
// passed since the start.
func (c *Cookies) current() (*secrets, time.Duration) {
	elapsed := c.now().Sub(c.start)
	s := c.secrets.Load()
	if elapsed-s.drawn < secretFor {
		return s, elapsed
	}
	c.drawing.Lock()
	defer c.drawing.Unlock()
	if s = c.secrets.Load(); elapsed-s.drawn >= secretFor {
		s = &secrets{drawn: elapsed, now: draw(), before: s.now, second: true}
		c.secrets.Store(s)
	}
	return s, elapsed
}

func draw() [2]uint64 {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return key(b)
}

func key(b [16]byte) [2]uint64 {
	return [2]uint64{binary.LittleEndian.Uint64(b[:8]), binary.LittleEndian.Uint64(b[8:])}
}

// hash is SipHash-2-4 of the first 16 bytes of a cookie and of the address
// (RFC 9018, 4.4).
func hash(secret [2]uint64, cookie []byte, from netip.Addr) uint64 {
	var b [32]byte
	copy(b[:16], cookie)
	n := 16
	if from = from.Unmap(); from.Is4() {
		a := from.As4()
		n += copy(b[16:], a[:])
	} else if from.IsValid() {
		a := from.As16()
		n += copy(b[16:], a[:])
	}
	return siphash.Hash(secret[0], secret[1], b[:n])
}
