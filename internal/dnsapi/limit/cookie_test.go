package limit

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// cookiesAt returns cookies of secrets that are given, at a time that is.
func cookiesAt(unix int64, now string, before ...string) *Cookies {
	c := NewCookies(func() time.Time { return time.Unix(unix, 0) })
	s := &secrets{now: key([16]byte(unhex(now)))}
	if len(before) > 0 {
		s.before, s.second = key([16]byte(unhex(before[0]))), true
	}
	c.secrets.Store(s)
	return c
}

// TestVectors are those of RFC 9018, Appendix A.
func TestVectors(t *testing.T) {
	const a, old, next = "e5e973e5a6b2a43f48e7dc849e37bfcf", "dd3bdf9344b678b185a6f5cb60fca715", "445536bcd2513298075a5d379663c962"
	made := []struct {
		secret, from, want string
		at                 int64
	}{
		{a, "198.51.100.100", "2464c4abcf10c957010000005cf79f111f8130c3eee29480", 1559731985},
		{a, "198.51.100.100", "2464c4abcf10c957010000005cf7a871d4a564a1442aca77", 1559734385},
		{a, "::ffff:198.51.100.100", "2464c4abcf10c957010000005cf7a871d4a564a1442aca77", 1559734385},
		{a, "203.0.113.203", "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e", 1559734700},
		{next, "2001:db8:220:1:59de:d0f4:8769:82b8", "22681ab97d52c298010000005cf7c609a6bb79d16625507a", 1559741961},
	}
	for _, v := range made {
		want := unhex(v.want)
		if got := cookiesAt(v.at, v.secret).Append(nil, want[:8], netip.MustParseAddr(v.from)); !bytes.Equal(got, want) {
			t.Errorf("made %x, want %x", got, want)
		}
	}
	valid := []struct {
		c            *Cookies
		from, cookie string
	}{
		{cookiesAt(1559734385, a), "198.51.100.100", "2464c4abcf10c957010000005cf79f111f8130c3eee29480"},
		{cookiesAt(1559727985, a), "203.0.113.203", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5"},
		{cookiesAt(1559741961, next, old), "2001:db8:220:1:59de:d0f4:8769:82b8", "22681ab97d52c298010000005cf7c57926556bd0934c72f8"},
	}
	for _, v := range valid {
		if !v.c.Valid(unhex(v.cookie), netip.MustParseAddr(v.from)) {
			t.Errorf("%s is not valid", v.cookie)
		}
	}
	if cookiesAt(1559741961, next).Valid(unhex("22681ab97d52c298010000005cf7c57926556bd0934c72f8"), netip.MustParseAddr("2001:db8:220:1:59de:d0f4:8769:82b8")) {
		t.Error("a cookie of a secret that is gone is valid")
	}
}

func TestCookiesAreForOneClientAndAddress(t *testing.T) {
	c := NewCookies(nil)
	from := netip.MustParseAddr("192.0.2.1")
	b := c.Append([]byte("before"), []byte("client's and more"), from)
	cookie := b[len("before"):]
	if string(b[:14]) != "beforeclient's" || len(cookie) != 24 || !c.Valid(cookie, from) {
		t.Fatalf("got %q", b)
	}
	for i := range 8 * len(cookie) {
		changed := bytes.Clone(cookie)
		changed[i/8] ^= 1 << (i % 8)
		if c.Valid(changed, from) {
			t.Errorf("valid with bit %d changed", i)
		}
	}
	for n := range len(cookie) + 20 {
		if b := append(bytes.Clone(cookie), make([]byte, 20)...)[:n]; n != len(cookie) && c.Valid(b, from) {
			t.Errorf("valid with %d bytes", n)
		}
	}
	for _, a := range []netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1"), {}} {
		if c.Valid(cookie, a) {
			t.Errorf("valid from %v", a)
		}
	}
	if !c.Valid(cookie, netip.MustParseAddr("::ffff:192.0.2.1")) {
		t.Error("not valid from the same address as IPv6 has it")
	}
	if NewCookies(nil).Valid(cookie, from) {
		t.Error("valid for another server")
	}
	another := bytes.Clone(cookie)
	another[8] = 2
	binary.LittleEndian.PutUint64(another[16:], hash(c.secrets.Load().now, another, from))
	if c.Valid(another, from) {
		t.Error("valid with a version that is not ours")
	}
	if got := c.Append(nil, []byte("short"), from); len(got) != 0 {
		t.Errorf("made %x for a client without a cookie", got)
	}
}

func TestFormed(t *testing.T) {
	for n := range 50 {
		if got, want := Formed(make([]byte, n)), n == 8 || n >= 16 && n <= 40; got != want {
			t.Errorf("%d bytes: %v", n, got)
		}
	}
}

func TestCookiesAge(t *testing.T) {
	from, client := netip.MustParseAddr("2001:db8::1"), make([]byte, 8)
	for _, start := range []int64{1e9, 1<<32 - 1800} { // the stamp wraps in the second
		var passed time.Duration
		c := NewCookies(func() time.Time { return time.Unix(start, 0).Add(passed) })
		passed = cookiesAhead
		cookie := c.Append(nil, client, from)
		for _, v := range []struct {
			at   time.Duration
			want bool
		}{
			{-time.Second, false}, {0, true}, {cookiesAhead, true}, {cookiesAhead + cookieFor, true}, {cookiesAhead + cookieFor + time.Second, false}, {23 * time.Hour, false},
		} {
			if passed = v.at; c.Valid(cookie, from) != v.want {
				t.Errorf("from %d: valid %v after its start: %v, want %v", start, v.at, !v.want, v.want)
			}
		}
	}
}

func TestSecretsAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCookies(nil)
		from, client := netip.MustParseAddr("192.0.2.1"), []byte("clients'")
		first := c.secrets.Load().now
		time.Sleep(secretFor - time.Second)
		last := c.Append(nil, client, from)
		if c.secrets.Load().now != first {
			t.Error("a secret is replaced before its time")
		}
		time.Sleep(time.Minute)
		next := c.Append(nil, client, from)
		if s := c.secrets.Load(); s.now == first || s.before != first {
			t.Error("the secret is not replaced after a day")
		}
		if !c.Valid(last, from) || !c.Valid(next, from) {
			t.Error("cookies from about the change are not valid")
		}
		time.Sleep(cookieFor - time.Minute)
		if !c.Valid(last, from) {
			t.Error("a cookie of the secret before is not valid for an hour")
		}
		// One who has come to know the secret before makes cookies of today.
		time.Sleep(2 * time.Minute)
		forged := cookiesAt(time.Now().Unix(), "00000000000000000000000000000000")
		forged.secrets.Load().now = first
		if cookie := forged.Append(nil, client, from); !forged.Valid(cookie, from) || c.Valid(cookie, from) {
			t.Error("a secret of yesterday is good for cookies of today")
		}
		time.Sleep(secretFor)
		c.Valid(next, from)
		if s := c.secrets.Load(); s.now == first || s.before == first {
			t.Error("the first secret is still about after two days")
		}
	})
}

func TestSecretsAreReplacedOnce(t *testing.T) {
	var now clock
	c := NewCookies(now.now)
	first := c.secrets.Load().now
	now.pass(secretFor)
	var done sync.WaitGroup
	from := netip.MustParseAddr("192.0.2.1")
	for range 8 {
		done.Go(func() {
			for range 100 {
				if !c.Valid(c.Append(nil, make([]byte, 8), from), from) {
					t.Error("not valid")
				}
			}
		})
	}
	done.Wait()
	if c.secrets.Load().before != first {
		t.Error("the secret was replaced more than once")
	}
}

func TestCookiesAllocateNothing(t *testing.T) {
	c := NewCookies(nil)
	from, client, b := netip.MustParseAddr("2001:db8::1"), make([]byte, 8), make([]byte, 0, 24)
	if n := testing.AllocsPerRun(100, func() { c.Valid(c.Append(b, client, from), from) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzCookies(f *testing.F) {
	f.Add(unhex("2464c4abcf10c957010000005cf79f111f8130c3eee29480"), []byte{198, 51, 100, 100})
	f.Add(make([]byte, 8), make([]byte, 16))
	c := cookiesAt(1559734385, "00000000000000000000000000000000")
	f.Fuzz(func(t *testing.T, cookie, address []byte) {
		from, _ := netip.AddrFromSlice(address)
		if c.Valid(cookie, from) && !(Formed(cookie) && len(cookie) == 24) {
			t.Errorf("%x is valid and not formed", cookie)
		}
		if made := c.Append(nil, cookie, from); len(cookie) >= 8 && !c.Valid(made, from) {
			t.Errorf("%x was made for %x and is not valid", made, cookie)
		}
	})
}

func BenchmarkCookies(b *testing.B) {
	c := NewCookies(nil)
	from, room := netip.MustParseAddr("192.0.2.1"), make([]byte, 0, 24)
	cookie := c.Append(nil, make([]byte, 8), from)
	b.ReportAllocs()
	b.Run("valid", func(b *testing.B) {
		for b.Loop() {
			c.Valid(cookie, from)
		}
	})
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			c.Append(room, cookie, from)
		}
	})
}
