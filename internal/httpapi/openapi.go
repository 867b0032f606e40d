package httpapi

import (
	_ "embed"
	"net/http"
)

// openAPIDocument describes the API; hand-written, and held to the table of routes and
// to real answers by tests.
//
//go:embed openapi.json
var openAPIDocument []byte

func (s *Server) openAPI(r *request) (int, error) { return r.send(s, http.StatusOK, openAPIDocument) }
