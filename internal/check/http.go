package check

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/rollcall-registry/rollcall"
)

// readers are kept, since a buffer costs more than the rest of a probe's memory.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}

// askHTTPS is askHTTP over TLS. Whose certificate it is shown does not matter;
// see the package's documentation.
func askHTTPS(ctx context.Context, conn net.Conn, authority, path string) Outcome {
	host, _, _ := net.SplitHostPort(authority)
	c := tls.Client(conn, &tls.Config{ServerName: host, InsecureSkipVerify: true})
	if err := c.HandshakeContext(ctx); err != nil {
		if _, plain := errors.AsType[tls.RecordHeaderError](err); plain {
			return unhealthy("it does not speak TLS")
		}
		return failed(err)
	}
	return askHTTP(c, authority, path)
}

// askHTTP sends one GET request and judges the answer by its head: what is the
// matter with the body concerns whoever asks for more than health. Of the body,
// what comes in time is shown, up to maxBody.
func askHTTP(conn net.Conn, authority, path string) Outcome {
	request := make([]byte, 0, 256)
	request = append(request, "GET "...)
	request = append(request, path...)
	request = append(request, " HTTP/1.1\r\nHost: "...)
	request = append(request, authority...)
	request = append(request, "\r\nUser-Agent: "+agent+"\r\nAccept: */*\r\nConnection: close\r\n\r\n"...)
	if _, err := conn.Write(request); err != nil {
		return failed(err)
	}
	return readAnswer(conn)
}

// source reads at most so much, and keeps the error that its end was: parsers
// make their own of it.
type source struct {
	io.LimitedReader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.LimitedReader.Read(p)
	if err != nil {
		s.err = err
	}
	return n, err
}

// readAnswer judges an HTTP answer.
func readAnswer(conn io.Reader) Outcome {
	from := &source{LimitedReader: io.LimitedReader{R: conn, N: maxAnswer}}
	r := readers.Get().(*bufio.Reader)
	r.Reset(from)
	defer func() { r.Reset(nil); readers.Put(r) }()
	var resp *http.Response
	for informed := 0; resp == nil || resp.StatusCode < 200; informed++ { // 1xx are not the answer yet
		var err error
		switch resp, err = http.ReadResponse(r, nil); {
		case err != nil && from.N <= 0:
			return unhealthy("it answered with a head of more than %d KiB", maxAnswer>>10)
		case err != nil && from.err != nil:
			return failed(from.err)
		case err != nil:
			return unhealthy("it does not answer in HTTP: %v", err)
		case resp.StatusCode == http.StatusSwitchingProtocols || informed == 8:
			return unhealthy("it answered %s instead of an answer", resp.Status)
		}
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return judgeHTTP(resp, body)
}

func judgeHTTP(resp *http.Response, body []byte) Outcome {
	o := Outcome{Status: rollcall.Unhealthy}
	text := resp.Status
	switch code := resp.StatusCode; {
	case code < 300:
		o.Status = rollcall.Healthy
		if s, ok := declared(resp.Header.Get("Content-Type"), body); ok {
			o.Status = s
		}
	case code < 400:
		text += ", and redirects are not followed"
		if to := resp.Header.Get("Location"); to != "" {
			text += "; it leads to " + to
		}
	case code == http.StatusTooManyRequests:
		o.Status = rollcall.Degraded
	}
	if len(body) > 0 {
		text += ": " + string(body)
	}
	o.Output = clean(text)
	return o
}

// declared returns the status that a document of type application/health+json
// states (draft-inadarei-api-health-check-06).
func declared(contentType string, body []byte) (rollcall.Status, bool) {
	if contentType == "" || contentType[0]|0x20 != 'a' {
		return 0, false
	}
	if t, _, err := mime.ParseMediaType(contentType); err != nil || t != "application/health+json" {
		return 0, false
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return 0, false
	}
	for d.More() { // the body may have been cut behind the status
		name, err := d.Token()
		if err != nil {
			return 0, false
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return 0, false
		}
		var status string
		if name != "status" || json.Unmarshal(value, &status) != nil {
			continue
		}
		switch strings.ToLower(status) {
		case "pass", "ok", "up":
			return rollcall.Healthy, true
		case "warn":
			return rollcall.Degraded, true
		case "fail", "error", "down":
			return rollcall.Unhealthy, true
		}
	}
	return 0, false
}
