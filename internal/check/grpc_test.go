package check

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/rollcall-registry/rollcall"
)

// serveGRPC runs a real gRPC server.
func serveGRPC(t testing.TB, register func(*grpc.Server)) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return at(l.Addr())
}

func TestGRPC(t *testing.T) {
	h := health.NewServer()
	h.SetServingStatus("up", healthpb.HealthCheckResponse_SERVING)
	h.SetServingStatus("down", healthpb.HealthCheckResponse_NOT_SERVING)
	h.SetServingStatus("unknown", healthpb.HealthCheckResponse_UNKNOWN)
	to := serveGRPC(t, func(s *grpc.Server) { healthpb.RegisterHealthServer(s, h) })
	for target, o := range map[string]Outcome{
		"":           {Status: rollcall.Healthy, Output: "SERVING"},
		"/":          {Status: rollcall.Healthy, Output: "SERVING"},
		":default":   {Status: rollcall.Healthy, Output: "SERVING"},
		"/up":        {Status: rollcall.Healthy, Output: "SERVING"},
		"/down":      {Status: rollcall.Unhealthy, Output: "NOT_SERVING"},
		"/unknown":   {Status: rollcall.Unhealthy, Output: "UNKNOWN"},
		"/elsewhere": {Status: rollcall.Unhealthy, Output: "NOT_FOUND: its health service does not know the service that the check names: unknown service"},
	} {
		t.Run(target, func(t *testing.T) { want(t, probe(t, to, check("grpc", target), 5*time.Second), o) })
	}
}

func TestGRPCWithoutHealth(t *testing.T) {
	to := serveGRPC(t, func(*grpc.Server) {})
	want(t, probe(t, to, check("grpc", ""), 5*time.Second),
		Outcome{Status: rollcall.Unhealthy, Output: "UNIMPLEMENTED: it does not offer grpc.health.v1: unknown service"})
}

// asked is a health service that answers with an error, and keeps the request.
type asked struct {
	healthpb.UnimplementedHealthServer
	service chan string
}

func (a *asked) Check(_ context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	a.service <- r.Service
	return nil, status.Error(codes.Unavailable, "100% näh\r\n"+strings.Repeat("x", 1000))
}

func TestGRPCError(t *testing.T) {
	a := &asked{service: make(chan string, 1)}
	to := serveGRPC(t, func(s *grpc.Server) { healthpb.RegisterHealthServer(s, a) })
	want(t, probe(t, to, check("grpc", "/pay.v1.Payments"), 5*time.Second),
		Outcome{Status: rollcall.Unhealthy, Output: "gRPC status 14: 100% näh xxx"})
	if s := <-a.service; s != "pay.v1.Payments" {
		t.Errorf("asked about %q", s)
	}
}

// frames returns what a server sends.
func frames(write func(*http2.Framer)) string {
	var b bytes.Buffer
	f := http2.NewFramer(&b, nil)
	f.AllowIllegalWrites = true
	f.WriteSettings()
	write(f)
	return b.String()
}

// headers writes a block of headers, given as names and values in turn.
func headers(f *http2.Framer, end bool, fields ...string) {
	var b bytes.Buffer
	h := hpack.NewEncoder(&b)
	for n := 0; n < len(fields); n += 2 {
		h.WriteField(hpack.HeaderField{Name: fields[n], Value: fields[n+1]})
	}
	rest := b.Bytes()
	first := rest[:min(len(rest), 16<<10)]
	rest = rest[len(first):]
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndHeaders: len(rest) == 0, EndStream: end})
	for len(rest) > 0 {
		part := rest[:min(len(rest), 16<<10)]
		rest = rest[len(part):]
		f.WriteContinuation(1, len(rest) == 0, part)
	}
}

func answers(message string, trailers ...string) string {
	return frames(func(f *http2.Framer) {
		f.WriteSettingsAck()
		f.WriteWindowUpdate(0, 100)
		f.WritePing(false, [8]byte{1})
		headers(f, false, ":status", "200", "content-type", "application/grpc+proto")
		f.WriteData(1, false, []byte(message))
		headers(f, true, trailers...)
	})
}

func TestGRPCAnswers(t *testing.T) {
	const serving = "\x00\x00\x00\x00\x02\x08\x01"
	ok := []string{"grpc-status", "0"}
	for _, tt := range []struct {
		name, answer string
		status       rollcall.Status
		output       string
	}{
		{"serving", answers(serving, ok...), rollcall.Healthy, "SERVING"},
		{"unknown fields", answers("\x00\x00\x00\x00\x07\x12\x01x\x08\x01\x18\x05", ok...), rollcall.Healthy, "SERVING"},
		{"unknown status", answers("\x00\x00\x00\x00\x02\x08\x09", ok...), rollcall.Unhealthy, "9"},
		{"no field", answers("\x00\x00\x00\x00\x00", ok...), rollcall.Unhealthy, "UNKNOWN"},
		{"no message", answers("", ok...), rollcall.Unhealthy, "not one message"},
		{"two messages", answers(serving+serving, ok...), rollcall.Unhealthy, "not one message"},
		{"half a message", answers(serving[:6], ok...), rollcall.Unhealthy, "not one message"},
		{"compressed", answers("\x01"+serving[1:], ok...), rollcall.Unhealthy, "compressed"},
		{"broken message", answers("\x00\x00\x00\x00\x01\x08", ok...), rollcall.Unhealthy, "cannot be read"},
		{"huge message", answers(strings.Repeat("x", maxBody+1), ok...), rollcall.Unhealthy, "more than 4096 bytes"},
		{"no status", answers(serving), rollcall.Unhealthy, "without a gRPC status"},
		{"odd status", answers(serving, "grpc-status", "-1"), rollcall.Unhealthy, "without a gRPC status"},
		{"other status", answers(serving, "grpc-status", "99", "grpc-message", "a%0Ab%zz"), rollcall.Unhealthy, "gRPC status 99: a%0Ab%zz"},
		{"informed first", frames(func(f *http2.Framer) {
			headers(f, false, ":status", "103")
			headers(f, true, ":status", "200", "content-type", "application/grpc", "grpc-status", "12")
		}), rollcall.Unhealthy, "UNIMPLEMENTED"},
		{"no trailers", frames(func(f *http2.Framer) {
			headers(f, false, ":status", "200", "content-type", "application/grpc")
			f.WriteData(1, true, []byte(serving))
		}), rollcall.Unhealthy, "without a gRPC status"},
		{"no headers", frames(func(f *http2.Framer) { f.WriteData(1, true, []byte(serving)) }), rollcall.Unhealthy, "without a gRPC status"},
		{"web server", frames(func(f *http2.Framer) { headers(f, true, ":status", "404", "content-type", "text/html") }), rollcall.Unhealthy, `no gRPC server: it answered HTTP 404, "text/html"`},
		{"wrong type", frames(func(f *http2.Framer) { headers(f, true, ":status", "200") }), rollcall.Unhealthy, "no gRPC server"},
		{"reset", frames(func(f *http2.Framer) { f.WriteRSTStream(1, http2.ErrCodeEnhanceYourCalm) }), rollcall.Unhealthy, "broke the call off: ENHANCE_YOUR_CALM"},
		{"turned away", frames(func(f *http2.Framer) { f.WriteGoAway(0, http2.ErrCodeNo, []byte("busy")) }), rollcall.Unhealthy, "turned the connection away: NO_ERROR busy"},
		{"going away", frames(func(f *http2.Framer) { f.WriteGoAway(1, http2.ErrCodeNo, nil) }) + answers(serving, ok...), rollcall.Healthy, "SERVING"},
		{"huge header", frames(func(f *http2.Framer) {
			headers(f, true, ":status", "200", "content-type", "application/grpc", "x", strings.Repeat("\xff", 24<<10))
		}), rollcall.Unhealthy, "breaks the rules"},
		{"many headers", frames(func(f *http2.Framer) {
			headers(f, true, append([]string{":status", "200", "content-type", "application/grpc"}, slices.Repeat([]string{"x", strings.Repeat("y", 100)}, 200)...)...)
		}), rollcall.Unhealthy, "more than 16 KiB"},
		{"huge frame", "\x00\x40\x01\x00\x00\x00\x00\x00\x01", rollcall.Unhealthy, "does not speak HTTP/2"},
		{"many frames", frames(func(f *http2.Framer) {
			for range 100 {
				f.WritePing(false, [8]byte{})
			}
		}), rollcall.Unhealthy, "more than a health check takes"},
		{"much of nothing", frames(func(f *http2.Framer) {
			for range 10 {
				f.WriteRawFrame(0xee, 0, 0, make([]byte, 16<<10))
			}
		}), rollcall.Unhealthy, "more than a health check takes"},
		{"broken rules", frames(func(f *http2.Framer) { f.WriteContinuation(1, true, nil) }), rollcall.Unhealthy, "breaks the rules of HTTP/2"},
		{"broken headers", frames(func(f *http2.Framer) {
			f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff}, EndHeaders: true})
		}), rollcall.Unhealthy, "breaks the rules of HTTP/2"},
		{"HTTP/1", "HTTP/1.1 400 Bad Request\r\n\r\n", rollcall.Unhealthy, "does not speak HTTP/2"},
		{"another protocol", "SSH-2.0-OpenSSH_9.6\r\n", rollcall.Unhealthy, "does not speak HTTP/2"},
		{"cut", answers(serving, ok...)[:60], rollcall.Unhealthy, "closed without a complete answer"},
		{"nothing", "", rollcall.Unhealthy, "closed without a complete answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want(t, readGRPC(answerer{strings.NewReader(tt.answer)}), Outcome{Status: tt.status, Output: tt.output})
		})
	}
}

// What a server's HTTP/2 wants to have acknowledged is.
func TestGRPCAcknowledges(t *testing.T) {
	var wrote bytes.Buffer
	readGRPC(struct {
		io.Reader
		io.Writer
	}{strings.NewReader(answers("\x00\x00\x00\x00\x00", "grpc-status", "0")), &wrote})
	var acks []http2.FrameType
	for f := http2.NewFramer(nil, &wrote); ; {
		frame, err := f.ReadFrame()
		if err != nil {
			break
		}
		if frame.Header().Flags.Has(http2.FlagSettingsAck) { // which is also that of a ping
			acks = append(acks, frame.Header().Type)
		}
	}
	equal(t, []http2.FrameType{http2.FrameSettings, http2.FramePing}, acks)
}

// answerer takes what is written and knows its answer already.
type answerer struct{ io.Reader }

func (answerer) Write(p []byte) (int, error) { return len(p), nil }

func FuzzReadGRPC(f *testing.F) {
	f.Add([]byte(answers("\x00\x00\x00\x00\x02\x08\x01", "grpc-status", "0")))
	f.Add([]byte(answers("\x01\x00\x00\x00\x02\x08\x01", "grpc-status", "5", "grpc-message", "%20")))
	f.Add([]byte(frames(func(f *http2.Framer) { f.WriteGoAway(0, 1, nil) })))
	f.Fuzz(func(t *testing.T, b []byte) { sound(t, readGRPC(answerer{bytes.NewReader(b)})) })
}
