package form

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rollcall-registry/rollcall"
)

// Decoder reads one body after the other. Its methods belong to one goroutine.
type Decoder struct {
	buf  []byte
	body string // buf as text, of which what is read are parts; "" until it is needed
	in   bytes.Buffer
	json jsontext.Decoder
	unit string // is read at a time, for errors in its JSON: a body or a line
	what string // is being read, for errors about the whole of it
	base int    // levels that a field's name leaves out: those around one item of many

	// Of an instance; see [Decoder.lend].
	ports        map[string]uint16
	capabilities map[string]rollcall.Value
	metadata     map[string]string
	list         []rollcall.Value // of the capability that is being read

	broken bool // the JSON itself is wrong: nothing behind the error can be read
}

// Fill reads a body whole and begins to decode it. A promised length is
// believed only up to a point, so that nobody makes the server allocate what is
// never sent. Errors are the reader's.
func (d *Decoder) Fill(r io.Reader, length int64) error {
	d.buf = d.buf[:0]
	if want := min(length+1, 64<<10); int64(cap(d.buf)) < want {
		d.buf = make([]byte, 0, want)
	}
	for {
		if len(d.buf) == cap(d.buf) {
			d.buf = append(d.buf, 0)[:len(d.buf)]
		}
		n, err := r.Read(d.buf[len(d.buf):cap(d.buf)])
		d.buf = d.buf[:len(d.buf)+n]
		switch {
		case err == io.EOF:
			d.Begin(d.buf)
			return nil
		case err != nil:
			return err
		}
	}
}

// Begin begins to decode a body, and owns it from then on.
func (d *Decoder) Begin(body []byte) {
	d.buf, d.body = body, ""
	d.in = *bytes.NewBuffer(body)
	d.json.Reset(&d.in)
	d.unit, d.what, d.base, d.broken = "the body", "the body", 0, false
}

// Release forgets the body, and its memory if that has become large.
func (d *Decoder) Release() {
	if d.buf = d.buf[:0]; cap(d.buf) > 1<<20 {
		d.buf = nil
	}
	d.in, d.body = bytes.Buffer{}, ""
	d.lend(new(rollcall.Instance)) // and keep nothing of what was read
	clear(d.list[:cap(d.list)])
	if cap(d.list) > maxKept {
		d.list = nil
	}
}

// maxKept is how many entries the maps of an instance may have to be used
// again: clearing a map takes as long as it has ever been large.
const maxKept = 64

// Empty reports whether the body has no bytes.
func (d *Decoder) Empty() bool { return len(d.buf) == 0 }

// whole reads a body with read and checks that nothing follows.
func (d *Decoder) whole(read func() error) error {
	if err := read(); err != nil {
		return err
	}
	return d.end()
}

// maxDepth bounds nesting where a value is not looked into.
const maxDepth = 32

// next reads a scalar, a name, or the begin or end of a container. The result
// is valid until the next read.
func (d *Decoder) next() (kind jsontext.Kind, raw []byte, err error) {
	switch d.json.PeekKind() {
	case '{', '[', '}', ']':
		t, err := d.json.ReadToken()
		return t.Kind(), nil, d.syntax(err)
	}
	v, err := d.json.ReadValue()
	if err != nil {
		return 0, nil, d.syntax(err)
	}
	return v.Kind(), v, nil
}

// end checks that nothing follows.
func (d *Decoder) end() error {
	_, err := d.json.ReadToken()
	switch err {
	case io.EOF:
		return nil
	case nil:
		d.broken = true
		return rollcall.Invalid("", d.unit+" has something behind its end")
	}
	return d.syntax(err)
}

// syntax describes an error in the JSON itself.
func (d *Decoder) syntax(err error) error {
	if err == nil {
		return nil
	}
	d.broken = true
	if err == io.EOF {
		return rollcall.Invalid("", d.unit+" is empty; it must be JSON")
	}
	var s *jsontext.SyntacticError
	if !errors.As(err, &s) {
		return rollcall.Invalid("", d.unit+" cannot be read: "+err.Error())
	}
	field := d.name(s.JSONPointer, 0)
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return rollcall.Invalid(field, "is there twice")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return rollcall.Invalid(field, d.unit+" ends in the middle of its JSON")
	}
	return rollcall.Invalid(field, fmt.Sprintf("is not JSON at byte %d of %s: %v", s.ByteOffset, d.unit, s.Err))
}

// fail returns an error about the value that was read last.
func (d *Decoder) fail(detail string) error {
	field := d.field()
	if field == "" {
		detail = d.what + " " + detail
	}
	return rollcall.Invalid(field, detail)
}

// wrong says that a value is of another type than it should be.
func (d *Decoder) wrong(kind jsontext.Kind, want string) error {
	return d.fail(fmt.Sprintf("is %s; %s is expected", kindNames[kind], want))
}

var kindNames = map[jsontext.Kind]string{
	'n': "null", 't': "a boolean", 'f': "a boolean", '"': "a string", '0': "a number", '{': "an object", '[': "an array",
}

// field names the value that was read last: "checks[0].ttl".
func (d *Decoder) field() string { return d.name(d.json.StackPointer(), d.base) }

func (d *Decoder) name(p jsontext.Pointer, base int) string {
	var b strings.Builder
	level := 0
	for part := range p.Tokens() {
		level++
		if level <= base {
			continue
		}
		array := false
		if level <= d.json.StackDepth() {
			kind, _ := d.json.StackIndex(level)
			array = kind == '['
		}
		switch {
		case array:
			b.WriteString("[" + part + "]")
		case b.Len() > 0:
			b.WriteString("." + part)
		default:
			b.WriteString(part)
		}
	}
	return b.String()
}

// object reads an object and calls member for each name in it, which reads the
// value. null is an object without members.
func (d *Decoder) object(member func(name string) error) error {
	kind, _, err := d.next()
	switch {
	case err != nil:
		return err
	case kind == 'n':
		return nil
	case kind != '{':
		return d.wrong(kind, "an object")
	}
	for {
		kind, raw, err := d.next()
		if err != nil {
			return err
		}
		if kind == '}' {
			return nil
		}
		if err := member(d.unquote(raw)); err != nil {
			return err
		}
	}
}

// array reads an array and calls element before each of its values, which reads
// it. null is an array without elements.
func (d *Decoder) array(element func() error) error {
	kind, _, err := d.next()
	switch {
	case err != nil:
		return err
	case kind == 'n':
		return nil
	case kind != '[':
		return d.wrong(kind, "an array")
	}
	for d.json.PeekKind() != ']' {
		if err := element(); err != nil {
			return err
		}
	}
	_, _, err = d.next()
	return err
}

// unknown refuses the member whose name was read last.
func (d *Decoder) unknown() error { return d.fail("is not known here; see /api/v1/openapi.json") }

// text reads a string; null is none.
func (d *Decoder) text(to *string) error {
	kind, raw, err := d.next()
	switch {
	case err != nil:
		return err
	case kind == '"':
		*to = d.unquote(raw)
	case kind != 'n':
		return d.wrong(kind, "a string")
	}
	return nil
}

// parsed reads a string that parse makes something of; null is none.
func (d *Decoder) parsed(want string, parse func(string) error) error {
	kind, raw, err := d.next()
	switch {
	case err != nil:
		return err
	case kind == 'n':
		return nil
	case kind != '"':
		return d.wrong(kind, want)
	}
	if err := parse(d.unquote(raw)); err != nil {
		return d.fail(err.Error())
	}
	return nil
}

func (d *Decoder) duration(to *rollcall.Duration) error {
	return d.parsed(`a duration such as "15s"`, func(s string) error { return to.UnmarshalText([]byte(s)) })
}

func (d *Decoder) status(to *rollcall.Status) error {
	return d.parsed("the name of a status", func(s string) error { return to.UnmarshalText([]byte(s)) })
}

// integer reads a whole number from 0 to most; null is 0.
func (d *Decoder) integer(most uint64) (uint64, error) {
	kind, raw, err := d.next()
	switch {
	case err != nil:
		return 0, err
	case kind == 'n':
		return 0, nil
	case kind != '0':
		return 0, d.wrong(kind, "a whole number")
	}
	n, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil || n > most {
		return 0, d.fail(fmt.Sprintf("is %.40s; a whole number from 0 to %d is expected", raw, most))
	}
	return n, nil
}

// boolean reads a truth value; null is false.
func (d *Decoder) boolean(to *bool) error {
	kind, _, err := d.next()
	switch {
	case err != nil:
		return err
	case kind != 't' && kind != 'f' && kind != 'n':
		return d.wrong(kind, "true or false")
	}
	*to = kind == 't'
	return nil
}

// number reads a number; null is 0.
func (d *Decoder) number(to *float64) error {
	kind, raw, err := d.next()
	switch {
	case err != nil:
		return err
	case kind == '0':
		return d.float(raw, to)
	case kind != 'n':
		return d.wrong(kind, "a number")
	}
	return nil
}

func (d *Decoder) float(raw []byte, to *float64) (err error) {
	if *to, err = strconv.ParseFloat(string(raw), 64); err != nil {
		return d.fail(fmt.Sprintf("is %.40s, which is out of range", raw))
	}
	return nil
}

// skip reads a value without looking at it.
func (d *Decoder) skip() error {
	depth := d.json.StackDepth()
	if _, _, err := d.next(); err != nil {
		return err
	}
	return d.leave(depth)
}

// leave reads on to the end of all that is open below a depth.
func (d *Decoder) leave(depth int) error {
	for d.json.StackDepth() > depth {
		if d.json.StackDepth() > maxDepth {
			d.broken = true
			return d.fail(fmt.Sprintf("nests deeper than %d levels", maxDepth))
		}
		if _, _, err := d.next(); err != nil {
			return err
		}
	}
	return nil
}

// null reads a null if one is next.
func (d *Decoder) null() bool {
	if d.json.PeekKind() != 'n' {
		return false
	}
	_, _, err := d.next()
	return err == nil
}

// unquote returns what the JSON string that was read last says. All texts of a
// body share its memory: whoever keeps one for long copies it.
func (d *Decoder) unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return string(unquoted(raw))
	}
	if d.body == "" {
		d.body = string(d.buf)
	}
	end := int(d.json.InputOffset())
	return d.body[end-len(raw)+1 : end-1]
}

// unquoted returns what a JSON string says.
func unquoted(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	b, _ := jsontext.AppendUnquote(nil, raw) // it was checked when it was read
	return b
}
