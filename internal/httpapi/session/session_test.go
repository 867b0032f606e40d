package session_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/session"
)

const registerP1 = `{"type":"register","ref":"a","instance":{"service":"Payments","id":"p-1","port":8080}}`

// bubble runs a test with a door in virtual time.
func bubble(t *testing.T, o session.Options, f func(t *testing.T, c *core, d *session.Door)) {
	synctest.Test(t, func(t *testing.T) {
		c := newCore()
		f(t, c, session.New(c, o))
	})
}

// whyBroken returns why the stream broke; "" if it did not.
func whyBroken(c *core) string {
	synctest.Wait()
	select {
	case why := <-c.broke:
		return why
	default:
		return ""
	}
}

func TestConversation(t *testing.T) {
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		p := open(t, d)
		p.say(registerP1)
		p.want("type", "session", "token", "t-1", "ttl", "15s", "ping", "2s", "resumed", false)
		m := p.want("type", "registered", "ref", "a", "service", "Payments", "id", "p-1", "namespace", "default", "revision", 1.0, "created", true)
		if i := m["instance"].(map[string]any); i["address"] != "10.0.0.9" {
			t.Errorf("registered as %v", i)
		}
		p.say(registerP1)
		p.want("type", "registered", "created", false)
		p.say(`{"type":"report","service":"payments","id":"p-1","status":"degraded","note":"slow"}`)
		p.want("type", "renewed", "id", "p-1", "ttl", "15s", "revision", 7.0)
		p.say(`{"type":"report","ref":"b","service":"payments","id":"nobody"}`)
		p.want("type", "error", "ref", "b", "status", 404.0, "id", "nobody", "problem", "/problems/not-found")
		c.lost <- rollcall.NewKey("shop", "Payments", "p-1")
		p.want("type", "lost", "service", "payments", "id", "p-1", "namespace", "shop")
		p.say(`{"type":"goodbye","service":"payments","id":"p-1","namespace":"shop","ref":"c"}`)
		p.want("type", "gone", "ref", "c", "service", "payments", "id", "p-1", "namespace", "shop")
		p.say(`{"type":"goodbye"}`)
		if m := p.want("type", "gone"); len(m) != 1 {
			t.Errorf("goodbye to all is answered %v", m)
		}
		if err := <-p.over; err != nil || whyBroken(c) != "" {
			t.Errorf("it ended with %v, broken: %q", err, whyBroken(c))
		}
		want := `open "" 0s, register Payments/p-1 at 10.0.0.9, register Payments/p-1 at 10.0.0.9, ` +
			`report p-1 degraded, report nobody unknown, goodbye [shop/payments/p-1], goodbye []`
		if got := c.noted(); got != strings.Replace(want, "unknown", fmt.Sprint(rollcall.Status(0)), 1) {
			t.Errorf("the core was asked\n%s, want\n%s", got, want)
		}
	})
}

func TestResume(t *testing.T) {
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		for token, resumed := range map[string]bool{"t-1": true, "expired": false, "": false} {
			p := open(t, d)
			p.say(`{"type":"resume","token":"` + token + `"}`)
			p.want("type", "session", "resumed", resumed)
			p.say(`{"type":"resume","token":"t-1"}`)
			p.want("type", "error", "status", 400.0, "field", "type")
			p.say(registerP1)
			p.want("type", "registered")
		}
	})
}

// What cannot be opened is answered by whoever holds the connection, and nothing
// is written.
func TestNoSession(t *testing.T) {
	for first, want := range map[string]error{
		`{"type":"resume","token":"unready"}`: rollcall.ErrNotSynced,
		`{"type":"resume","tokken":"t-1"}`:    rollcall.ErrInvalid,
		`{"type":"resume`:                     rollcall.ErrInvalid,
		strings.Repeat(" ", 70<<10):           rollcall.ErrTooLarge,
	} {
		bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
			p := open(t, d)
			go p.conn.Write([]byte(first + "\n"))
			if err := <-p.over; !errors.Is(err, want) {
				t.Errorf("%.40s: %v", first, err)
			}
			if b, _ := io.ReadAll(p.in); len(b) > 0 {
				t.Errorf("%.40s: %s", first, b)
			}
			if c.noted() != "" || whyBroken(c) != "" {
				t.Errorf("%.40s: %s", first, c.noted())
			}
		})
	}
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		began := time.Now()
		if err := <-open(t, d).over; !errors.Is(err, rollcall.ErrTimeout) || time.Since(began) != 10*time.Second {
			t.Errorf("a stream without a line ended with %v after %v", err, time.Since(began))
		}
		p := open(t, d)
		p.conn.Close()
		if err := <-p.over; !errors.Is(err, rollcall.ErrInvalid) || !strings.Contains(err.Error(), "begins with a line") {
			t.Errorf("an empty stream ended with %v", err)
		}
	})
}

// A line that is wrong is answered, and the session goes on.
func TestWrongLines(t *testing.T) {
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		p := open(t, d)
		p.say(`{"type":"pong"}`)
		p.want("type", "session")
		for _, w := range []struct{ line, field, ref string }{
			{`{"type":"register","ref":"r","instance":{"service":"a","wieght":5}}`, "instance.wieght", "r"},
			{`{"type":"register","ref":"r"}`, "instance", "r"},
			{`{"type":"register","ref":7}`, "ref", ""},
			{`{"type":"drain","service":"a","id":"b"}`, "type", ""},
			{`{"ref":"r","type":"pong"}`, "ref", ""},
			{`{"type":"pong","ref":"r"}`, "ref", ""},
			{`{"type":"report","service":"a","id":"b","state":"healthy"}`, "state", ""},
			{`{"type":"report","service":"a","id":"b","status":"fine"}`, "status", ""},
			{`{"type":"report","service":"a"}`, "", ""},
			{`{"type":"goodbye","id":"a"}`, "", ""},
			{`{"type":"goodbye","namespace":"a"}`, "namespace", ""},
			{`{"type":"goodbye","service":"a","id":"b","note":"x"}`, "note", ""},
			{`{}`, "type", ""}, {`null`, "type", ""}, {`7`, "", ""}, {`["type"]`, "", ""},
		} {
			p.say(w.line)
			m := p.want("type", "error", "status", 400.0, "problem", "/problems/invalid")
			field, _ := m["field"].(string)
			if ref, _ := m["ref"].(string); field != w.field || ref != w.ref || m["detail"] == "" {
				t.Errorf("%s is answered %v", w.line, m)
			}
		}
		c.fail = errSecret
		p.say(registerP1)
		if m := p.want("type", "error", "ref", "a", "id", "p-1", "status", 500.0); strings.Contains(fmt.Sprint(m), "secret") {
			t.Errorf("an unforeseen error is shown: %v", m)
		}
		p.say(`{"type":"goodbye"}`)
		p.want("type", "error", "status", 500.0)
		c.fail = nil
		p.say("", "\r", registerP1)
		p.want("type", "registered")
		if got := c.noted(); strings.Count(got, "register") != 2 || strings.Contains(got, "report") {
			t.Errorf("the core was asked %s", got)
		}
	})
}

// After a line that is not JSON, or too long, nobody knows where the next one
// begins.
func TestGarbageEndsTheStream(t *testing.T) {
	for line, why := range map[string]string{
		`GET / HTTP/1.1`:                                "a line was not JSON",
		`{"type":"pong"}{"type":"pong"`:                 "a line was not JSON",
		`{"type":"pong","type":"pong"}`:                 "a line was not JSON",
		"\x00\xff":                                      "a line was not JSON",
		`{"type":"pong",` + strings.Repeat(" ", 65<<10): "a line was not JSON",
	} {
		bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
			p := open(t, d)
			p.say(registerP1)
			p.want("type", "session")
			p.want("type", "registered")
			go p.conn.Write([]byte(line + "\n" + registerP1 + "\n"))
			m := p.want("type", "error")
			if s := m["status"]; s != 400.0 && s != 413.0 {
				t.Errorf("%.20q is answered %v", line, m)
			}
			if err := <-p.over; err != nil {
				t.Errorf("%.20q: %v", line, err)
			}
			if got := whyBroken(c); got != why || strings.Count(c.noted(), "register") != 1 {
				t.Errorf("%.20q: broken: %q, and the core was asked %s", line, got, c.noted())
			}
		})
	}
}

// Whatever ends a stream but a goodbye breaks it.
func TestBreak(t *testing.T) {
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		p := open(t, d)
		p.say(registerP1)
		p.want("type", "session")
		p.want("type", "registered")
		p.conn.Close()
		if err := <-p.over; err != nil || whyBroken(c) != "the stream ended without a goodbye" {
			t.Errorf("ended with %v", err)
		}
	})
	for silent, want := range map[time.Duration]string{6 * time.Second: "the stream ended without a goodbye", 7 * time.Second: "left"} {
		bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
			p := open(t, d)
			p.say(registerP1)
			p.want("type", "session")
			p.want("type", "registered")
			go io.Copy(io.Discard, p.conn)
			<-time.After(silent)
			p.conn.Close()
			if why := <-c.broke; why != want {
				t.Errorf("a connection that ends after %v of silence is %q, want %q", silent, why, want)
			}
		})
	}
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		p := open(t, d)
		p.say(registerP1)
		p.want("type", "session")
		p.want("type", "registered")
		go io.Copy(io.Discard, p.conn)
		began := time.Now()
		if why := <-c.broke; why != "left" || time.Since(began) != 15*time.Second {
			t.Errorf("broken %q after %v", why, time.Since(began))
		}
	})
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		p := open(t, d)
		p.say(`{"type":"register","instance":{"service":"panic"}}`)
		p.want("type", "session")
		if err := <-p.over; err == nil || whyBroken(c) != "the server failed" {
			t.Errorf("after a panic: %v", err)
		}
	})
}

// A line that comes drop by drop is no sign of life.
func TestSlowLine(t *testing.T) {
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		p := open(t, d)
		p.say("")
		p.want("type", "session")
		go io.Copy(io.Discard, p.conn)
		began := time.Now()
		for range 20 {
			if _, err := p.conn.Write([]byte(" ")); err != nil {
				break
			}
			<-time.After(time.Second)
		}
		if why := <-c.broke; time.Since(began) > 16*time.Second {
			t.Errorf("broken %q after %v", why, time.Since(began))
		}
	})
}

// A client that does not read is dropped.
func TestSlowReader(t *testing.T) {
	bubble(t, session.Options{WriteTimeout: 5 * time.Second}, func(t *testing.T, c *core, d *session.Door) {
		p := open(t, d)
		p.say("")
		p.want("type", "session")
		began := time.Now()
		if why := <-c.broke; why != "left" || time.Since(began) != 7*time.Second {
			t.Errorf("broken %q after %v; want 2s to the ping, and 5s", why, time.Since(began))
		}
	})
}

func TestPings(t *testing.T) {
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		p := open(t, d)
		p.say("")
		var at []time.Duration
		began := time.Now()
		go func() {
			for {
				text, err := p.in.ReadString('\n')
				if err != nil {
					return
				}
				if strings.Contains(text, "ping") && !strings.Contains(text, "session") {
					at = append(at, time.Since(began))
					p.say(`{"type":"pong"}`)
				}
			}
		}()
		<-time.After(3 * time.Second)
		p.say(registerP1)
		<-time.After(57 * time.Second)
		synctest.Wait()
		if len(at) < 28 || at[0] != 2*time.Second || at[1] != 5*time.Second || at[2] != 7*time.Second {
			t.Errorf("pings at %v; want one after each 2s without another line", at)
		}
		if c.alive < 30 || whyBroken(c) != "" {
			t.Errorf("heard %d times, broken: %q", c.alive, whyBroken(c))
		}
	})
}

// That the server stops is nobody's fault: clients hear of it, the core does not.
func TestEnd(t *testing.T) {
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		reads, sleeps := open(t, d), open(t, d)
		for _, p := range []*peer{reads, sleeps} {
			p.say(registerP1)
			p.want("type", "session")
			p.want("type", "registered")
		}
		began := time.Now()
		d.End()
		d.End()
		reads.want("type", "closing")
		if err := <-reads.over; err != nil || time.Since(began) != 0 {
			t.Errorf("ended with %v after %v", err, time.Since(began))
		}
		if err := <-sleeps.over; err != nil || time.Since(began) != time.Second {
			t.Errorf("one that does not read ended with %v after %v", err, time.Since(began))
		}
		if why := whyBroken(c); why != "" {
			t.Errorf("broken: %s", why)
		}
		p := open(t, d)
		if err := <-p.over; !errors.Is(err, rollcall.ErrUnavailable) {
			t.Errorf("a new one: %v", err)
		}
	})
}

func TestInstancesOfASessionAreBounded(t *testing.T) {
	bubble(t, session.Options{MaxInstances: 3}, func(t *testing.T, c *core, d *session.Door) {
		p := open(t, d)
		register := func(id string) { p.say(`{"type":"register","instance":{"service":"a","id":"` + id + `"}}`) }
		p.say("")
		p.want("type", "session")
		for _, id := range []string{"1", "2", "3", "2"} {
			register(id)
			p.want("type", "registered")
		}
		register("4")
		p.want("type", "error", "status", 429.0, "field", "instance", "id", "4")
		p.say(`{"type":"goodbye","service":"a","id":"1"}`)
		p.want("type", "gone")
		register("4")
		p.want("type", "registered")
	})
}

// Lines may be of any length up to the limit, and come in any pieces.
func TestLines(t *testing.T) {
	bubble(t, session.Options{MaxLine: 1000}, func(t *testing.T, c *core, d *session.Door) {
		p := open(t, d)
		go func() {
			for n := range 940 {
				line := fmt.Sprintf(`{"type":"register","ref":"%s","instance":{"service":"a"}}`+"\r\n", strings.Repeat("r", n))
				for cut := n % 7; len(line) > 0; cut++ {
					size := min(len(line), 1+cut*cut)
					p.conn.Write([]byte(line[:size]))
					line = line[size:]
				}
			}
		}()
		p.want("type", "session")
		for n := range 940 {
			if ref, _ := p.want("type", "registered")["ref"].(string); len(ref) != n {
				t.Fatalf("a ref of %d bytes is answered with one of %d", n, len(ref))
			}
		}
	})
}

// wire is a stream whose input is there from the begin.
type wire struct {
	io.Reader
	out strings.Builder
}

func (w *wire) Write(b []byte) (int, error)      { return w.out.Write(b) }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// Whatever comes, each line that goes back is JSON, and the session ends exactly
// once.
func FuzzServe(f *testing.F) {
	f.Add([]byte(registerP1 + "\n{\"type\":\"goodbye\"}\n"))
	f.Add([]byte("\n\r\n" + `{"type":"report","service":"a","id":"b","load":{"rps":1}}` + "\n{}\n7\nnull"))
	f.Add([]byte(strings.Repeat(`{"type":"report","service":"a","id":"b","position":{"lat":1,"lon":2}}`+"\n", 3) + `{"type":"report","service":"a","id":"nobody","load":{"rps":1}}` + "\n" + registerP1))
	f.Add([]byte(`{"type":"resume","token":"t-1"}` + "\n" + `{"type":"goodbye","service":"a","id":"b"}`))
	f.Add([]byte(`{"type":"resume","token":"` + strings.Repeat("x", 300)))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := newCore()
		w := &wire{Reader: strings.NewReader(string(in))}
		err := session.New(c, session.Options{MaxLine: 512}).Serve(t.Context(), w, 0, func(*rollcall.Instance) {})
		if (err == nil) != (w.out.Len() > 0) {
			t.Errorf("%q: %v and %s", in, err, w.out.String())
		}
		for line := range strings.Lines(w.out.String()) {
			if !json.Valid([]byte(line)) || !strings.HasPrefix(line, `{"type":"`) {
				t.Errorf("%q is answered %q", in, line)
			}
		}
		parted := len(c.broke)
		if strings.HasSuffix(c.noted(), "goodbye []") {
			parted++
		}
		if err == nil && parted != 1 {
			t.Errorf("%q ended %d times", in, parted)
		}
	})
}

// A stream whose session another one took up ends without a word to the core.
func TestTakenUp(t *testing.T) {
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		p := open(t, d)
		p.say("")
		p.want("type", "session")
		close(c.taken)
		<-p.over
		if why := whyBroken(c); why != "" {
			t.Errorf("broken: %s", why)
		}
	})
}
