//go:build e2e

package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/test/process"
)

var openSessions = flag.Int("sessions", 10_000, "how many sessions TestSessionsCut cuts at once")

// proxyStreams is the role of a proxy: to a server, listening at an address. It
// copies bytes and knows no more of them.
func proxyStreams(t *testing.T, args []string) {
	l, err := net.Listen("tcp", args[1])
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				far, err := net.Dial("tcp", args[0])
				if err != nil {
					near.Close()
					return
				}
				go pass(far, near)
				pass(near, far)
			}()
		}
	}()
	say("%s", l.Addr())
}

// pass copies from one connection to another and closes both at the end. It does
// not leave that to the kernel, which would take more descriptors.
func pass(to, from net.Conn) {
	buf := make([]byte, 4<<10)
	io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, buf)
	to.Close()
	from.Close()
}

// crowd are clients that each hold a session with one instance. They are lighter
// than those of package client, since there are thousands of them in one process.
type crowd struct {
	t        *testing.T
	port     uint16 // at which all of them are
	conns    sync.WaitGroup
	resumed  atomic.Int64
	anew     atomic.Int64 // sessions that were not resumed, the first ones included
	attempts atomic.Int64 // to connect
}

// hold holds a session until the test ends.
func (c *crowd) hold(id int, addr string) {
	token := ""
	least := 50 * time.Millisecond
	for pause := least; c.t.Context().Err() == nil; pause = min(2*pause, 2*time.Second) {
		c.attempts.Add(1)
		opened, err := c.stream(id, addr, &token)
		if opened {
			pause = least
		} else if err == nil {
			return
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-c.t.Context().Done():
		}
	}
}

// told is what a server says on a stream.
type told struct {
	Type, Token, Detail string
	Resumed             bool
}

// stream opens a stream and answers its pings until it breaks. opened is false if
// no session came of it.
func (c *crowd) stream(id int, addr string, token *string) (opened bool, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-c.t.Context().Done():
			conn.Close()
		case <-stop:
		}
	}()
	write := func(line string) { fmt.Fprintf(conn, "%x\r\n%s\n\r\n", len(line)+1, line) }
	io.WriteString(conn, "POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
	register := fmt.Sprintf(`{"type":"register","instance":{"service":"crowd-%d","id":"i-%d","port":%d}}`, id%100, id, c.port)
	if *token == "" {
		write(register)
	} else {
		write(fmt.Sprintf(`{"type":"resume","token":%q}`, *token))
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 1<<10), nil)
	if err != nil {
		return false, err
	}
	if resp.StatusCode != http.StatusOK {
		return false, errors.New(resp.Status)
	}
	lines := bufio.NewReaderSize(resp.Body, 1<<10)
	for {
		text, err := lines.ReadString('\n')
		if err != nil {
			return opened, err
		}
		var l told
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			return opened, err
		}
		switch l.Type {
		case "session":
			if opened = true; l.Resumed {
				c.resumed.Add(1)
			} else if c.anew.Add(1); *token != "" {
				write(register)
			}
			*token = l.Token
		case "ping":
			write(`{"type":"pong"}`)
		case "lost":
			write(register)
		case "error":
			c.t.Errorf("instance %d: %s", id, l.Detail)
		}
	}
}

// metric returns a value of a server's /metrics.
func metric(t *testing.T, p *process.Process, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + p.Addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		if text, ok := strings.CutPrefix(s.Text(), name+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// TestSessionsCut kills the proxies between a registry and thousands of sessions
// at once, and starts them again a second later. Nobody is taken out, and all
// sessions are resumed: nobody registers again.
func TestSessionsCut(t *testing.T) {
	const proxies, real = 4, 200 // clients of package client among them
	p := process.Serve(t, t.TempDir())
	var between [proxies]*player
	var addrs [proxies]string
	for n := range between {
		between[n] = play(t, nil, "proxy", p.Addr, "127.0.0.1:0")
		addrs[n] = between[n].Said
	}
	c := &crowd{t: t, port: acceptAll(t)}
	t.Cleanup(c.conns.Wait) // the context of the test has ended by then
	light := max(*openSessions-real, 0)
	begin := time.Now()
	for id := range light {
		c.conns.Go(func() { c.hold(id, addrs[id%proxies]) })
		if id%500 == 499 { // so that none waits for long
			process.Eventually(t, time.Minute, func() error { return atLeast(c.anew.Load(), int64(id)) })
		}
	}
	play(t, nil, "keep", addrs[0], "0", strconv.Itoa(real))
	all := light + real
	healthy := func() error {
		if got := statuses(t, p); got[rollcall.Healthy] != all {
			return fmt.Errorf("they are %v; want %d healthy", got, all)
		}
		return nil
	}
	process.Eventually(t, time.Minute, healthy)
	t.Logf("%d sessions were open after %v", all, time.Since(begin).Round(100*time.Millisecond))

	watched := watchAll(t, p)
	cpu := func() float64 { return metric(t, p, "process_cpu_seconds_total") }
	idle := cpu()
	const quiet = 5 * time.Second
	<-time.After(quiet) // to know what they cost when nothing is the matter
	idle = cpu() - idle
	rss, registrations := metric(t, p, "process_resident_memory_bytes"), metric(t, p, "rollcall_registrations_total")

	before, cut := cpu(), time.Now()
	for _, b := range between {
		b.kill()
	}
	<-time.After(time.Second) // a restart takes its time
	suspect := statuses(t, p)[rollcall.Suspect]
	for n := range between {
		between[n] = play(t, nil, "proxy", p.Addr, addrs[n])
	}
	process.Eventually(t, 2*time.Minute, func() error {
		for n := range 3 {
			ans, err := p.Client.Resolve(t.Context(), rollcall.Query{Service: fmt.Sprintf("crowd-%d", n)})
			if err != nil || len(ans.Instances) < light/100 {
				t.Errorf("crowd-%d: an answer of %d, %v", n, len(ans.Instances), err)
			}
		}
		if err := atLeast(c.resumed.Load(), int64(light)); err != nil {
			return err
		}
		return healthy()
	})
	t.Logf("cut, %d were suspect; all were healthy again %v after the cut; attempts to connect: %d",
		suspect, time.Since(cut).Round(100*time.Millisecond), c.attempts.Load()-int64(light))
	t.Logf("the server took %.2f s of CPU for it (%.3f cores at rest), and has %.0f MiB resident (%.0f before)",
		cpu()-before, idle/quiet.Seconds(), metric(t, p, "process_resident_memory_bytes")/(1<<20), rss/(1<<20))
	if suspect < all/2 {
		t.Errorf("a second after the cut %d are suspect; was there one?", suspect)
	}
	if _, lost := watched.count(); len(lost) > 0 {
		t.Errorf("a watcher lost %d, first %s", len(lost), lost[0])
	}
	if again := metric(t, p, "rollcall_registrations_total") - registrations; again > 0 || c.anew.Load() != int64(light) {
		t.Errorf("%v were registered again, and %d sessions not resumed", again, c.anew.Load()-int64(light))
	}
	process.Eventually(t, 10*time.Second, func() error {
		if guards, err := p.Client.Guards(t.Context()); err != nil || len(guards) > 0 {
			return fmt.Errorf("guards %+v, %v; want none any more", guards, err)
		}
		return nil
	})
}

func atLeast(got, want int64) error {
	if got < want {
		return fmt.Errorf("there are %d; want %d", got, want)
	}
	return nil
}
