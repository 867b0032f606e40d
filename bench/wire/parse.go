package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Reply is what is known of a reply when it has been read.
type Reply struct {
	Status int
	Bytes  int    // of the body
	ETag   []byte // if the source wants it; valid during the call
}

// OK reports whether the request was served: an answer, or that it has not changed.
func (r *Reply) OK() bool { return r.Status >= 200 && r.Status < 300 || r.Status == 304 }

var errTooLong = errors.New("a header of more than 64 KiB")

// parser reads replies, in whatever pieces they come.
type parser struct {
	reply  Reply
	head   []byte // of a header that came in pieces
	state  state
	left   int  // bytes of the body or chunk still to come
	close  bool // the server will close the connection
	skip   int  // of a chunk's end or trailer, matched so far
	digits int  // of a chunk's size, read so far
	// body, which may be nil, is given the pieces of the body.
	body func([]byte)
}

type state int

const (
	inHead state = iota
	inBody
	toClose     // the body lasts until the connection ends
	inSize      // of a chunk
	inExtension // behind the size
	inChunk
	inChunkEnd
	inTrailer
)

// reset makes it ready for the next reply.
func (p *parser) reset() {
	*p = parser{head: p.head[:0], reply: Reply{ETag: p.reply.ETag[:0]}, body: p.body}
}

// feed reads a piece. done says that the reply is whole; rest is what lies behind it.
func (p *parser) feed(b []byte) (done bool, rest []byte, err error) {
	for len(b) > 0 {
		if p.state == inHead {
			if b, done, err = p.header(b); done || err != nil {
				return done, b, err
			}
			continue
		}
		if p.state == inBody || p.state == inChunk || p.state == toClose {
			n := len(b)
			if p.state != toClose {
				n = min(n, p.left)
				p.left -= n
			}
			p.reply.Bytes += n
			if p.body != nil {
				p.body(b[:n])
			}
			b = b[n:]
			if p.state == inBody && p.left == 0 {
				return true, b, nil
			}
			if p.state == inChunk && p.left == 0 {
				p.state = inChunkEnd
			}
			continue
		}
		if done, err = p.chunked(b[0]); done || err != nil {
			return done, b[1:], err
		}
		b = b[1:]
	}
	return false, nil, nil
}

// header reads up to the end of the header, if it is there.
func (p *parser) header(b []byte) (rest []byte, done bool, err error) {
	head := b
	before := len(p.head)
	if before > 0 {
		p.head = append(p.head, b...)
		head = p.head
	}
	end := bytes.Index(head, []byte("\r\n\r\n"))
	if end < 0 {
		if before == 0 {
			p.head = append(p.head, b...)
		}
		if len(p.head) > 64<<10 {
			return nil, false, errTooLong
		}
		return nil, false, nil
	}
	rest = b[end+4-before:]
	done, err = p.fields(head[:end+2])
	p.head = p.head[:0]
	return rest, done, err
}

// fields reads a status line and header fields and decides how the body comes.
func (p *parser) fields(head []byte) (done bool, err error) {
	if len(head) < 14 || string(head[:7]) != "HTTP/1." {
		return false, fmt.Errorf("no HTTP/1 reply: %.40q", head)
	}
	if p.reply.Status, err = strconv.Atoi(string(head[9:12])); err != nil {
		return false, fmt.Errorf("no status: %.40q", head)
	}
	p.close = head[7] == '0'
	length, chunked := -1, false
	for line := range bytes.SplitSeq(head[:len(head)-2], []byte("\r\n")) {
		switch {
		case field(line, "content-length:"):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[15:]))); err != nil || length < 0 {
				return false, fmt.Errorf("bad header %.40q", line)
			}
		case field(line, "transfer-encoding:"):
			chunked = bytes.EqualFold(bytes.TrimSpace(line[18:]), []byte("chunked"))
		case field(line, "connection:"):
			p.close = bytes.EqualFold(bytes.TrimSpace(line[11:]), []byte("close"))
		case field(line, "etag:"):
			p.reply.ETag = append(p.reply.ETag[:0], bytes.TrimSpace(line[5:])...)
		}
	}
	switch {
	case p.reply.Status < 200: // something preliminary; the reply comes behind it
	case p.reply.Status == 204 || p.reply.Status == 304:
		return true, nil
	case chunked:
		p.state = inSize
	case length >= 0:
		p.state, p.left = inBody, length
		return length == 0, nil
	default:
		p.state, p.close = toClose, true
	}
	return false, nil
}

// field reports whether a line is the header that name, in lower case, says.
func field(line []byte, name string) bool {
	if len(line) < len(name) || line[0]|0x20 != name[0] || line[len(name)-1] != ':' {
		return false
	}
	for i := range name {
		if line[i] != name[i] && line[i]|0x20 != name[i] {
			return false
		}
	}
	return true
}

// chunked reads one byte of what surrounds chunks.
func (p *parser) chunked(c byte) (done bool, err error) {
	switch p.state {
	case inSize:
		if n := hex(c); n >= 0 && p.digits < 8 {
			p.left, p.digits = p.left<<4|n, p.digits+1
			return false, nil
		}
		if p.digits == 0 || c != '\r' && c != ';' && c != ' ' {
			return false, fmt.Errorf("bad chunk size: %q", c)
		}
		p.state = inExtension
	case inExtension:
		if c != '\n' {
			return false, nil
		}
		p.digits, p.state = 0, inChunk
		if p.left == 0 {
			p.state, p.skip = inTrailer, 0
		}
	case inChunkEnd:
		if c == '\n' {
			p.state = inSize
		}
	case inTrailer: // until an empty line
		if c == '\n' {
			if p.skip == 0 {
				return true, nil
			}
			p.skip = 0
		} else if c != '\r' {
			p.skip++
		}
	}
	return false, nil
}

// ended says that the connection ended; whole reports whether the reply ended so too.
func (p *parser) ended() (whole bool) { return p.state == toClose }

func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
