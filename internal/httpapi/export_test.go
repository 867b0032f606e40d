package httpapi

import (
	"maps"
	"slices"
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
