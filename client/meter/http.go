package meter

import (
	"bufio"
	"io"
	"net"
	"net/http"

	"github.com/rollcall-registry/rollcall/client/internal/orca"
)

// Handler counts the requests that h serves and adds the load to the header of each
// answer. A status of 500 or more is a failure, except 501 and 505, and so is a panic.
func (m *Meter) Handler(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := m.begin()
		own := &writer{ResponseWriter: w, m: m}
		panicked := true
		defer func() { m.end(began, panicked || failure(own.status)) }()
		h.ServeHTTP(own, r)
		own.answer(http.StatusOK) // unless it was
		panicked = false
	})
}

func failure(status int) bool {
	return status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported
}

// writer adds the load to the header before that is sent, and remembers the status.
// It is not used again for another request, which costs an allocation: a handler that
// writes after it has returned, by mistake, must not write to somebody else.
type writer struct {
	http.ResponseWriter
	m      *Meter
	status int
}

// answer notes the status of the final answer.
func (w *writer) answer(status int) {
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
		w.Header()[orca.Header] = w.m.report().text
	}
}

func (w *writer) WriteHeader(status int) {
	w.answer(status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	w.answer(http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// ReadFrom keeps the short way from a file to a socket.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	w.answer(http.StatusOK)
	return io.Copy(w.ResponseWriter, r)
}

// Unwrap is for [http.ResponseController].
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush and Hijack are for those who ask the ResponseWriter itself.
func (w *writer) Flush() {
	w.answer(http.StatusOK)
	http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}
