package session_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/session"
)

// counted is a connection that counts what is written to it.
type counted struct {
	net.Conn
	writes *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) { c.writes.Add(1); return c.Conn.Write(b) }

// What comes together is answered together, each in its turn, and what comes alone
// at once.
func TestReportsAreAnsweredTogether(t *testing.T) {
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		near, far := net.Pipe()
		var writes atomic.Int64
		go d.Serve(t.Context(), counted{far, &writes}, 0, func(*rollcall.Instance) {})
		p := &peer{t: t, conn: near}
		p.in = bufio.NewReader(near)
		defer near.Close()
		p.say("")
		p.want("type", "session")
		report := func(n int, more string) string {
			return fmt.Sprintf(`{"type":"report","ref":"%d","service":"A","id":"i-%d"%s}`, n, n, more)
		}
		answered := func(n, within int64) {
			t.Helper()
			if got := writes.Swap(0); got < 1 || got > within {
				t.Errorf("%d answers in %d writes; %d are enough", n, got, within)
			}
		}
		// Reads take more and more at once, and then all.
		for range 3 {
			writes.Store(0)
			var lines []string
			for n := range 100 {
				lines = append(lines, report(n, []string{`,"load":{"rps":1}`, `,"position":{"lat":1,"lon":2}`, `,"status":"degraded"`}[n%3]))
			}
			lines[50] = `{"type":"report","ref":"50","service":"A","id":"nobody","load":{"rps":1}}`
			go io.WriteString(near, strings.Join(lines, "\n")+"\n")
			for n := range 100 {
				kind := "renewed"
				if n == 50 {
					kind = "error"
				}
				p.want("type", kind, "ref", fmt.Sprint(n), "service", "a", "namespace", "default")
			}
		}
		answered(100, 3)
		// Half a line is not waited for.
		whole := report(7, "")
		go io.WriteString(near, report(6, "")+"\n"+whole[:20])
		p.want("type", "renewed", "ref", "6")
		synctest.Wait()
		answered(1, 1)
		go io.WriteString(near, whole[20:]+"\n")
		p.want("type", "renewed", "ref", "7")
		answered(1, 1)
		// What is answered before the end is not lost with it.
		go io.WriteString(near, report(1, "")+"\n"+report(2, `,"load":{"rps":2}`)+"\n{\"type\":\n")
		p.want("type", "renewed", "ref", "1")
		p.want("type", "renewed", "ref", "2")
		p.want("type", "error", "status", 400.0)
		if why := whyBroken(c); why != "a line was not JSON" {
			t.Errorf("broken: %q", why)
		}
	})
}

// A report of load or position is a sign of life, also if it is not the first.
func TestReportsAreSignsOfLife(t *testing.T) {
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		p := open(t, d)
		p.say("")
		p.want("type", "session")
		for range 5 {
			c.mu.Lock()
			before := c.alive
			c.mu.Unlock()
			p.say(`{"type":"report","service":"a","id":"1","load":{"rps":1}}`)
			p.want("type", "renewed")
			c.mu.Lock()
			if c.alive == before {
				t.Error("it is not heard")
			}
			c.mu.Unlock()
			time.Sleep(time.Second)
		}
	})
}

// Names are what the lines say, however many there are.
func TestNamesOfReports(t *testing.T) {
	bubble(t, session.Options{}, func(t *testing.T, c *core, d *session.Door) {
		p := open(t, d)
		p.say("")
		p.want("type", "session")
		go func() {
			for n := range 5000 {
				fmt.Fprintf(p.conn, `{"type":"report","service":"A","id":"%d","namespace":"N%d","load":{"rps":1}}`+"\n", n%2500, n%3)
			}
		}()
		for n := range 5000 {
			p.want("type", "renewed", "service", "a", "id", fmt.Sprint(n%2500), "namespace", fmt.Sprint("n", n%3))
		}
	})
}
