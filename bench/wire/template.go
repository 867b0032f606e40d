package wire

import (
	"fmt"
	"strings"
)

// Widths of the numbers in a template. They never change, so neither does the length of a
// request or of its body.
const (
	serviceDigits = 5
	idDigits      = 9
)

// Template is text with places for two numbers: that of a service and that of an instance.
type Template struct {
	text   []byte
	places []place
}

type place struct {
	at, digits int
	service    bool
}

// Parse makes a template of text in which {service} and {id} stand for the numbers.
func Parse(text string) Template {
	var t Template
	for {
		before, rest, ok := strings.Cut(text, "{")
		t.text = append(t.text, before...)
		if !ok {
			return t
		}
		switch {
		case strings.HasPrefix(rest, "service}"):
			t.places = append(t.places, place{len(t.text), serviceDigits, true})
		case strings.HasPrefix(rest, "id}"):
			t.places = append(t.places, place{len(t.text), idDigits, false})
		default: // a brace that means itself, as in JSON
			t.text = append(t.text, '{')
			text = rest
			continue
		}
		t.text = append(t.text, "000000000"[:t.places[len(t.places)-1].digits]...)
		_, text, _ = strings.Cut(rest, "}")
	}
}

// Request makes a template of a request. An empty body is none.
func Request(method, path, host, body string, headers ...string) Template {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, path, host)
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	if body != "" || method != "GET" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", Parse(body).Len())
	}
	return Parse(b.String() + "\r\n" + body)
}

// Len returns the length of what is made of the template.
func (t Template) Len() int { return len(t.text) }

// Append appends the text with the numbers filled in.
func (t Template) Append(dst []byte, service, id int) []byte {
	start := len(dst)
	dst = append(dst, t.text...)
	for _, p := range t.places {
		n := id
		if p.service {
			n = service
		}
		for i := start + p.at + p.digits - 1; i >= start+p.at; i-- {
			dst[i] = byte('0' + n%10)
			n /= 10
		}
	}
	return dst
}

// What stands for the numbers in text for [ParseFilled], as wide as they are.
const (
	FilledService = "{sss}"
	FilledID      = "{iiiiiii}"
)

// ParseFilled makes a template of text whose length is that of what is made of it.
func ParseFilled(text string) Template {
	t := Template{text: []byte(text)}
	for _, p := range []struct {
		mark    string
		service bool
	}{{FilledService, true}, {FilledID, false}} {
		for from := 0; ; {
			at := strings.Index(text[from:], p.mark)
			if at < 0 {
				break
			}
			t.places = append(t.places, place{from + at, len(p.mark), p.service})
			from += at + len(p.mark)
		}
	}
	return t
}
