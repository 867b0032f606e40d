package httpapi

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/problem"
)

// refuse answers with a problem document and returns its status.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) int {
	p, known := problem.Of(err)
	if !known {
		s.o.Logger.Error("a request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	p.Send(w)
	return p.Status
}

func methodNotAllowed(method string, allowed []string) error {
	return &rollcall.Error{Kind: problem.ErrMethod, Detail: fmt.Sprintf("%.20q is not allowed here; use %s", method, strings.Join(allowed, ", "))}
}

func noSuchPath(path string) error {
	return &rollcall.Error{Kind: rollcall.ErrNotFound, Detail: fmt.Sprintf("nothing is at %.200q; %s/openapi.json says what is where", path, api)}
}

// foreignOrigin keeps web pages from changing what they find on the machine of
// whoever looks at them: what is sent as a form needs no leave of the server.
func foreignOrigin() error {
	return &rollcall.Error{Kind: rollcall.ErrForbidden, Detail: "a web page of another origin may not change anything here"}
}

func unsupported(field, detail string) error {
	return &rollcall.Error{Kind: rollcall.ErrUnsupported, Field: field, Detail: detail}
}
