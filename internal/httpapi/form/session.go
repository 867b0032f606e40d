package form

import (
	"fmt"

	"github.com/rollcall-registry/rollcall"
)

// Types of the lines that a client sends on a session.
const (
	LineResume   = "resume"
	LineRegister = "register"
	LineReport   = "report"
	LinePong     = "pong"
	LineGoodbye  = "goodbye"
)

// Line is one line that a client sends on a session. Which fields it has goes by
// its type.
type Line struct {
	Type string
	// Ref is echoed in the answer.
	Ref string
	// Token is what a resume takes up.
	Token string
	// Instance is what to register. Its maps are the decoder's, until that is
	// released.
	Instance rollcall.Instance
	// Key is what a report or goodbye is about; a goodbye without is about all.
	Key    rollcall.Key
	Report rollcall.Report
}

// Line reads one line of a session. See [Decoder.Broken] for which errors end
// it. What was read before an error stays in l.
func (d *Decoder) Line(l *Line) error {
	d.unit, d.what = "the line", "the line"
	*l = Line{}
	d.lend(&l.Instance)
	return d.whole(func() error { return d.line(l) })
}

// Broken reports whether the last error was in the JSON itself, and not in what
// it says.
func (d *Decoder) Broken() bool { return d.broken }

func (d *Decoder) line(l *Line) error {
	var namespace, service string
	instance := false
	err := d.object(func(name string) error {
		switch {
		case name == "type":
			return d.lineType(&l.Type)
		case l.Type == "":
			return d.fail(`comes before "type", which is the first member of a line`)
		case name == "ref" && l.Type != LinePong:
			return d.text(&l.Ref)
		case name == "token" && l.Type == LineResume:
			return d.text(&l.Token)
		case name == "instance" && l.Type == LineRegister:
			instance = true
			return d.instance(&l.Instance)
		case l.Type != LineReport && l.Type != LineGoodbye:
			return d.unknown()
		case name == "namespace":
			return d.text(&namespace)
		case name == "service":
			return d.text(&service)
		case name == "id":
			return d.text(&l.Key.ID)
		case l.Type == LineReport:
			return d.reported(&l.Report, name)
		}
		return d.unknown()
	})
	if service != "" || l.Key.ID != "" {
		l.Key.ServiceKey = rollcall.NewServiceKey(namespace, service)
	}
	switch {
	case err != nil:
		return err
	case l.Type == "":
		return rollcall.Invalid("type", "is required, as the first member of a line")
	case l.Type == LineRegister && !instance:
		return rollcall.Invalid("instance", "is required")
	case (l.Type == LineReport || service != "" || l.Key.ID != "") && (service == "" || l.Key.ID == ""):
		return d.fail("needs both service and id")
	case l.Type == LineGoodbye && service == "" && namespace != "":
		return rollcall.Invalid("namespace", "is not said goodbye to; name an instance, or nothing for all of them")
	}
	return nil
}

func (d *Decoder) lineType(to *string) error {
	return d.parsed("the type of a line", func(s string) error {
		switch s {
		case LineResume, LineRegister, LineReport, LinePong, LineGoodbye:
			*to = s
			return nil
		}
		return fmt.Errorf("is %.40q; resume, register, report, pong and goodbye are the types of lines", s)
	})
}
