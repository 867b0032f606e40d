package form

import (
	"strconv"

	"github.com/rollcall-registry/rollcall"
)

// What comes thousands of times a second is tried with a reader of its own first,
// which knows no more JSON than such texts are made of: no null, no escapes, no
// other members. Whatever it does not know it leaves to the decoder, and what it
// does know it reads as the decoder does.

// Quick is a line of a session that reports a load or a position. Its texts are
// parts of the line.
type Quick struct {
	Ref, Namespace, Service, ID []byte

	Load     rollcall.Load
	Position rollcall.Position
	Report   rollcall.Report // of the above
}

// Line reads a line; false if it is to be read with [Decoder.Line].
func (q *Quick) Line(line []byte) bool {
	q.Ref, q.Namespace, q.Service, q.ID = nil, nil, nil, nil
	q.Report = rollcall.Report{}
	s := scan{b: line}
	typed := false
	ok := s.object(func(name []byte) bool {
		switch first := !typed; {
		case first:
			typed = true
			kind, ok := s.text()
			return ok && string(name) == "type" && string(kind) == LineReport
		case string(name) == "ref":
			return s.unset(&q.Ref)
		case string(name) == "namespace":
			return s.unset(&q.Namespace)
		case string(name) == "service":
			return s.unset(&q.Service)
		case string(name) == "id":
			return s.unset(&q.ID)
		case string(name) == "load" && q.Report.Load == nil:
			q.Report.Load = &q.Load
			return s.load(&q.Load)
		case string(name) == "position" && q.Report.Position == nil:
			q.Report.Position = &q.Position
			return s.position(&q.Position)
		}
		return false
	})
	return ok && s.ended() && len(q.Service) > 0 && len(q.ID) > 0
}

// Position reads a patch that says where an instance is, and nothing else; false
// if it is to be read with [Decoder.Patch].
func (d *Decoder) Position() (p rollcall.Position, ok bool) {
	s := scan{b: d.buf}
	seen := false
	ok = s.object(func(name []byte) bool {
		if seen || string(name) != "position" {
			return false
		}
		seen = true
		return s.position(&p)
	})
	return p, ok && seen && s.ended()
}

// scan reads texts of a few forms of JSON. Its methods say whether what is next
// has the form.
type scan struct {
	b  []byte
	at int
}

func (s *scan) space() {
	for s.at < len(s.b) && (s.b[s.at] == ' ' || s.b[s.at] == '\n' || s.b[s.at] == '\r' || s.b[s.at] == '\t') {
		s.at++
	}
}

// is reads one byte, with space around it.
func (s *scan) is(c byte) bool {
	s.space()
	if s.at == len(s.b) || s.b[s.at] != c {
		return false
	}
	s.at++
	s.space()
	return true
}

func (s *scan) ended() bool {
	s.space()
	return s.at == len(s.b)
}

// object reads an object with at least one member, and calls member for the value
// of each.
func (s *scan) object(member func(name []byte) bool) bool {
	if !s.is('{') {
		return false
	}
	for {
		name, ok := s.text()
		if !ok || !s.is(':') || !member(name) {
			return false
		}
		if s.is('}') {
			return true
		}
		if !s.is(',') {
			return false
		}
	}
}

// text reads a string of printable ASCII without escapes.
func (s *scan) text() ([]byte, bool) {
	if s.at == len(s.b) || s.b[s.at] != '"' {
		return nil, false
	}
	begin := s.at + 1
	for n, c := range s.b[begin:] {
		switch {
		case c == '"':
			s.at = begin + n + 1
			return s.b[begin : begin+n], true
		case c < ' ' || c > '~' || c == '\\':
			return nil, false
		}
	}
	return nil, false
}

// unset reads a string that is there for the first time.
func (s *scan) unset(to *[]byte) (ok bool) {
	if *to != nil {
		return false
	}
	*to, ok = s.text()
	return ok
}

// digits reads digits, at least one.
func (s *scan) digits() bool {
	begin := s.at
	for s.at < len(s.b) && s.b[s.at] >= '0' && s.b[s.at] <= '9' {
		s.at++
	}
	return s.at > begin
}

// one reads one of some bytes, if it is next.
func (s *scan) one(of string) bool {
	for n := range len(of) {
		if s.at < len(s.b) && s.b[s.at] == of[n] {
			s.at++
			return true
		}
	}
	return false
}

func (s *scan) number(to *float64) bool {
	begin := s.at
	s.one("-")
	if !s.one("0") && !s.digits() {
		return false
	}
	if s.one(".") && !s.digits() {
		return false
	}
	if s.one("eE") {
		s.one("+-")
		if !s.digits() {
			return false
		}
	}
	f, err := strconv.ParseFloat(string(s.b[begin:s.at]), 64)
	*to = f
	return err == nil
}

func (s *scan) count(to *int) bool {
	begin := s.at
	if !s.one("0") && !s.digits() {
		return false
	}
	n, err := strconv.Atoi(string(s.b[begin:s.at]))
	*to = n
	return err == nil
}

// report reads a report of load and position alone, to its end.
func (s *scan) report(r *rollcall.Report) bool {
	return s.object(func(name []byte) bool {
		switch {
		case string(name) == "load" && r.Load == nil:
			r.Load = new(rollcall.Load)
			return s.load(r.Load)
		case string(name) == "position" && r.Position == nil:
			r.Position = new(rollcall.Position)
			return s.position(r.Position)
		}
		return false
	}) && s.ended()
}

func (s *scan) position(p *rollcall.Position) bool {
	var lat, lon bool
	return s.object(func(name []byte) bool {
		switch {
		case string(name) == "lat" && !lat:
			lat = true
			return s.number(&p.Lat)
		case string(name) == "lon" && !lon:
			lon = true
			return s.number(&p.Lon)
		}
		return false
	}) && lat && lon
}

func (s *scan) load(l *rollcall.Load) bool {
	*l = rollcall.Load{}
	var seen uint
	first := func(n uint) bool {
		is := seen&n == 0
		seen |= n
		return is
	}
	return s.object(func(name []byte) bool {
		switch string(name) {
		case "utilization":
			return first(1) && s.number(&l.Utilization)
		case "in_flight":
			return first(2) && s.count(&l.InFlight)
		case "rps":
			return first(4) && s.number(&l.RPS)
		case "errors":
			return first(8) && s.number(&l.Errors)
		case "latency_p50_ms":
			return first(16) && s.number(&l.LatencyP50)
		case "latency_p99_ms":
			return first(32) && s.number(&l.LatencyP99)
		}
		return false
	})
}
