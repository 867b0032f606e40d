package client

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/line"
)

// fakeStream is a session's stream as its server sees it.
type fakeStream struct {
	token string
	down  chan string // lines to send; "" ends the stream
}

// session is the door of a fake's sessions. What comes on streams is logged as
// "SESSION register p-1".
func (f *fake) session(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	c.EnableFullDuplex()
	in := bufio.NewReader(r.Body)
	var first line.Sent
	if text, err := in.ReadBytes('\n'); err != nil || json.Unmarshal(text, &first) != nil {
		fail(w, 400, "invalid", "no first line")
		return
	}
	f.mu.Lock()
	resumed := f.tokens[first.Token]
	s := &fakeStream{token: first.Token, down: make(chan string, 64)}
	if !resumed {
		s.token = fmt.Sprintf("t-%d", len(f.streams)+1)
		f.tokens[s.token] = true
	}
	f.streams = append(f.streams, s)
	f.mu.Unlock()
	s.down <- fmt.Sprintf(`{"type":"session","token":%q,"ttl":"15s","ping":"2s","resumed":%v}`, s.token, resumed)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { s.down <- "" }()
		for {
			text, err := in.ReadBytes('\n')
			if err != nil || !f.heard(s, text) {
				return
			}
		}
	}()
	for {
		ping := time.NewTimer(2 * time.Second)
		next := `{"type":"ping"}`
		select {
		case next = <-s.down:
		case <-ping.C:
			f.mu.Lock()
			mute := f.mute
			f.mu.Unlock()
			if mute {
				continue
			}
		}
		ping.Stop()
		if next == "" {
			break
		}
		io.WriteString(w, next+"\n")
		c.Flush()
	}
	c.SetReadDeadline(time.Now())
	<-ended
}

// heard does what a line says, and returns false after a goodbye to all.
func (f *fake) heard(s *fakeStream, text []byte) bool {
	var l struct {
		line.Sent
		rollcall.Report
	}
	json.Unmarshal(text, &l)
	if l.Type == "pong" {
		return true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	id := l.ID
	if l.Instance != nil {
		id = l.Instance.ID
	}
	f.log = append(f.log, request{time.Now(), strings.TrimSpace("SESSION " + l.Type + " " + id), string(text)})
	switch l.Type {
	case "register":
		if strings.Contains(string(text), "poison") {
			s.down <- fmt.Sprintf(`{"type":"error","ref":%q,"problem":"/problems/invalid","status":400,"title":"invalid request","detail":"no"}`, l.Ref)
			return true
		}
		f.rev++
		l.Instance.Normalize()
		l.Instance.Revision, l.Instance.Address = f.rev, "10.0.0.9"
		f.known[id] = *l.Instance
		delete(f.said, id)
		s.down <- fmt.Sprintf(`{"type":"registered","ref":%q,"revision":%d,"instance":%s}`, l.Ref, f.rev, l.Instance.AppendJSON(nil))
	case "report":
		if _, ok := f.known[id]; !ok {
			s.down <- fmt.Sprintf(`{"type":"error","ref":%q,"problem":"/problems/not-found","status":404,"title":"not found"}`, l.Ref)
			return true
		}
		f.said[id] = merge(f.said[id], l.Report)
		s.down <- fmt.Sprintf(`{"type":"renewed","ref":%q,"ttl":"15s","revision":3}`, l.Ref)
	case "goodbye":
		if id == "" {
			clear(f.known)
			delete(f.tokens, s.token)
		}
		delete(f.known, id)
		s.down <- fmt.Sprintf(`{"type":"gone","ref":%q}`, l.Ref)
		return id != ""
	}
	return true
}

// opened returns the streams that were ever open.
func (f *fake) opened() []*fakeStream {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.streams
}

// tell sends a line on the newest stream.
func (f *fake) tell(line string) {
	ss := f.opened()
	ss[len(ss)-1].down <- line
}

func (f *fake) forgetSessions() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.tokens)
}
