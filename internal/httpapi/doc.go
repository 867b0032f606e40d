// Package httpapi is the native HTTP door: the API under /api/v1, and the
// probes of the process itself. It turns requests into calls of a [Registry]
// and their outcome into JSON, and keeps no state beyond its connections.
//
// One table of routes (route.go) is the source of the mux, of the metrics'
// labels, of which query parameters a route takes, and of the tests that hold
// openapi.json and docs/http.md to what is served.
//
// Two paths are kept lean. An answer of resolve is encoded once per view and
// query and hangs on the view ([catalog.View.Keep]), packed and as gzip; a
// heartbeat without a body touches no JSON. A batch of changes is encoded once
// for all who watch alike ([watch.Batch.Memo]), also when it is compressed: see
// packages stream and compress.
package httpapi
