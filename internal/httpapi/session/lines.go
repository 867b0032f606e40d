package session

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
)

// idleBuffer is how many bytes a stream holds to read into while little comes,
// and busyBuffer what it takes, bit by bit, when reads fill what there is. After
// calmAfter reads that do not, it is idle again.
const (
	idleBuffer = 256
	busyBuffer = 16 << 10
	calmAfter  = 8
)

var errLong = errors.New("the line is too long")

// lines reads lines. Its buffer grows with them and shrinks behind them.
type lines struct {
	r     io.Reader
	most  int // bytes of a line
	buf   []byte
	begin int   // of what is read and not returned
	err   error // comes after that
	full  bool  // the last read filled the buffer
	calm  int   // reads since one would not have fitted into an idle buffer
}

// ready reports whether the next line is there, so that nobody waits for it.
func (l *lines) ready() bool { return bytes.IndexByte(l.buf[l.begin:], '\n') >= 0 }

// next returns the next line, without its end. It is valid until the next call.
// A last line without an end is one, too, if the stream ends in good order.
func (l *lines) next() ([]byte, error) {
	for seen := 0; ; {
		rest := l.buf[l.begin:]
		if n := bytes.IndexByte(rest[seen:], '\n'); n >= 0 {
			line := rest[:seen+n]
			l.begin += len(line) + 1
			if len(line) > l.most {
				return nil, errLong
			}
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		switch seen = len(rest); {
		case seen > l.most:
			return nil, errLong
		case l.err == io.EOF && seen > 0:
			l.begin += seen
			return rest, nil
		case l.err != nil:
			return nil, l.err
		}
		l.fill(rest)
	}
}

// fill reads more behind what is left.
func (l *lines) fill(rest []byte) {
	size := cap(l.buf)
	switch {
	case size == 0 || len(rest) == 0 && l.calm >= calmAfter:
		size = idleBuffer
	case len(rest) == size:
		size = min(4*size, l.most+2)
	case l.full && size < busyBuffer:
		size = max(size, min(4*size, l.most+2))
	}
	if size != cap(l.buf) {
		l.buf = append(make([]byte, 0, size), rest...)
	} else {
		l.buf = l.buf[:copy(l.buf[:size], rest)]
	}
	l.begin = 0
	n, err := l.r.Read(l.buf[len(l.buf):size])
	l.buf, l.err = l.buf[:len(l.buf)+n], err
	l.full = len(l.buf) == size
	if l.calm++; len(l.buf) > idleBuffer {
		l.calm = 0
	}
}

// Lines that say no more than that somebody is there.
var pong = []byte(`{"type":"pong"}`)

func quiet(line []byte) bool { return len(line) == 0 || bytes.Equal(line, pong) }

// decode decodes a line.
func decode(dec *form.Decoder, line []byte, l *form.Line) error {
	if err := dec.Fill(bytes.NewReader(line), int64(len(line))); err != nil {
		return err
	}
	return dec.Line(l)
}

// unopened says why there is no first line.
func unopened(err error, within time.Duration) error {
	switch {
	case errors.Is(err, errLong):
		return &rollcall.Error{Kind: rollcall.ErrTooLarge, Detail: "the first line is too long"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &rollcall.Error{Kind: rollcall.ErrTimeout, Detail: fmt.Sprintf("a session begins with a line, and none came within %v", within)}
	case err == io.EOF:
		return rollcall.Invalid("", "a session begins with a line, and there is none; {\"type\":\"pong\"} will do")
	}
	return &rollcall.Error{Kind: rollcall.ErrInvalid, Detail: "the stream cannot be read: " + err.Error(), Cause: err}
}

// broken says why a stream ended.
func broken(err error, ttl time.Duration) string {
	var call *os.SyscallError
	_, untaken := errors.AsType[untaken](err)
	switch {
	case err == nil:
		return "the server failed"
	case untaken && errors.Is(err, os.ErrDeadlineExceeded):
		return "the client did not read"
	case err == io.EOF:
		return "the stream ended without a goodbye"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Sprintf("nothing was heard for %v", ttl)
	case errors.As(err, &call):
		err = call.Err // addresses are no part of the reason
	}
	return "the stream broke: " + err.Error()
}
