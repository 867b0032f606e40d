package httpapi

import (
	"maps"
	"net/http"
	"slices"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/httpapi/form"
)

// Route is a line of the table of routes, for tests.
type Route struct {
	Method, Pattern, Operation string
	Params                     []string
}

// Routes returns the table of routes.
func Routes() (rs []Route) {
	for _, r := range routes() {
		var params []string
		for _, name := range slices.Sorted(maps.Keys(takes(r.params))) {
			switch name {
			case "cap.*":
				name = "cap.NAME"
			case "meta.*":
				name = "meta.NAME"
			}
			params = append(params, name)
		}
		rs = append(rs, Route{r.method, r.pattern, r.operation, params})
	}
	return rs
}

// ParseQuery reads a query string as a route does that takes all of a query's
// parameters.
func ParseQuery(raw string) (q rollcall.Query, err error) {
	m := mounted{takes: takes("namespace query wait")}
	r := request{}
	if r.params, err = m.parse(raw); err != nil {
		return q, err
	}
	return q, form.Query(r.params, &q)
}

// Vouches reports whether a request from a peer vouches for an instance's
// address.
func Vouches(peer, address string) bool {
	r := request{Request: &http.Request{RemoteAddr: peer}}
	i := rollcall.Instance{Address: address}
	r.settle(&i)
	return i.Vouched
}
