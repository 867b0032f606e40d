package session

import (
	"strconv"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
	"github.com/rollcall-registry/rollcall/internal/httpapi/problem"
	"github.com/rollcall-registry/rollcall/internal/httpapi/quote"
)

// Lines that are always the same.
var (
	ping    = []byte(`{"type":"ping"}` + "\n")
	closing = []byte(`{"type":"closing"}` + "\n")
)

func appendSession(b []byte, s Session, resumed bool) []byte {
	b = quote.Append(append(b, `{"type":"session","token":`...), s.Token())
	b = append(append(b, `,"ttl":"`...), rollcall.Duration(s.TTL()).String()...)
	b = append(append(b, `","ping":"`...), rollcall.Duration(s.Ping()).String()...)
	b = strconv.AppendBool(append(b, `","resumed":`...), resumed)
	return append(b, "}\n"...)
}

func appendRegistered(b []byte, ref string, i *rollcall.Instance, created bool) []byte {
	b = appendRef(append(b, `{"type":"registered"`...), ref)
	b = appendKey(b, i.Namespace, i.Service, i.ID)
	b = strconv.AppendUint(append(b, `,"revision":`...), uint64(i.Revision), 10)
	b = strconv.AppendBool(append(b, `,"created":`...), created)
	return append(i.AppendJSON(append(b, `,"instance":`...)), "}\n"...)
}

func appendRenewed(b []byte, ref string, k rollcall.Key, ttl string, rev rollcall.Revision) []byte {
	b = appendRef(append(b, `{"type":"renewed"`...), ref)
	b = appendKey(b, k.Namespace, k.Service, k.ID)
	b = append(append(b, `,"ttl":"`...), ttl...)
	b = strconv.AppendUint(append(b, `","revision":`...), uint64(rev), 10)
	return append(b, "}\n"...)
}

func appendGone(b []byte, ref string, k rollcall.Key) []byte {
	b = appendRef(append(b, `{"type":"gone"`...), ref)
	if k != (rollcall.Key{}) {
		b = appendKey(b, k.Namespace, k.Service, k.ID)
	}
	return append(b, "}\n"...)
}

func appendLost(b []byte, k rollcall.Key) []byte {
	b = appendKey(append(b, `{"type":"lost"`...), k.Namespace, k.Service, k.ID)
	return append(b, "}\n"...)
}

func appendRef(b []byte, ref string) []byte {
	if ref == "" {
		return b
	}
	return quote.Append(append(b, `,"ref":`...), ref)
}

func appendKey(b []byte, namespace, service, id string) []byte {
	b = quote.Append(append(b, `,"service":`...), service)
	b = quote.Append(append(b, `,"id":`...), id)
	return quote.Append(append(b, `,"namespace":`...), namespace)
}

// refuse answers a line that could not be done.
func (st *stream) refuse(l *form.Line, err error) error {
	p, known := problem.Of(err)
	if !known {
		st.d.o.Logger.Error("a line of a session failed", "type", l.Type, "instance", l.Key.String(), "err", err)
	}
	return st.answer(func(b []byte) []byte {
		b = appendRef(append(b, `{"type":"error"`...), l.Ref)
		if l.Key.ID != "" {
			b = appendKey(b, l.Key.Namespace, l.Key.Service, l.Key.ID)
		}
		b = quote.Append(append(b, `,"problem":`...), p.Type)
		b = strconv.AppendInt(append(b, `,"status":`...), int64(p.Status), 10)
		b = quote.Append(append(b, `,"title":`...), p.Title)
		if p.Detail != "" {
			b = quote.Append(append(b, `,"detail":`...), p.Detail)
		}
		if p.Field != "" {
			b = quote.Append(append(b, `,"field":`...), p.Field)
		}
		return append(b, "}\n"...)
	})
}
