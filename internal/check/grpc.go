package check

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
)

// A gRPC client keeps a connection and several goroutines for what a probe does
// once, at several times the cost. Here the one request is written at once and
// frames are read until it is answered.

const (
	maxFrames     = 64 // that are read before an answer must be complete
	maxHeaderList = 16 << 10
)

// The gRPC status codes that are told apart.
const (
	grpcOK            = 0
	grpcNotFound      = 5
	grpcUnimplemented = 12
)

// askGRPC calls grpc.health.v1.Health/Check about a service.
func askGRPC(conn io.ReadWriter, authority, service string) Outcome {
	if _, err := conn.Write(grpcRequest(authority, service)); err != nil {
		return failed(err)
	}
	return readGRPC(conn)
}

// grpcRequest returns all that a client sends.
func grpcRequest(authority, service string) []byte {
	var out, headers bytes.Buffer
	out.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&out, nil)
	f.WriteSettings(
		http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0},
		http2.Setting{ID: http2.SettingEnablePush, Val: 0},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHeaderList},
	)
	h := hpack.NewEncoder(&headers)
	h.SetMaxDynamicTableSizeLimit(0)
	for _, field := range [...]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"},
		{Name: ":path", Value: "/grpc.health.v1.Health/Check"}, {Name: ":authority", Value: authority},
		{Name: "te", Value: "trailers"}, {Name: "content-type", Value: "application/grpc"}, {Name: "user-agent", Value: agent},
	} {
		h.WriteField(field)
	}
	f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headers.Bytes(), EndHeaders: true})
	message := make([]byte, 5, 16+len(service)) // not compressed, and its length
	if service != "" {
		message = protowire.AppendTag(message, 1, protowire.BytesType)
		message = protowire.AppendString(message, service)
	}
	binary.BigEndian.PutUint32(message[1:], uint32(len(message)-5))
	f.WriteData(1, true, message)
	return out.Bytes()
}

// readGRPC judges what comes back, and acknowledges what has to be.
func readGRPC(conn io.ReadWriter) Outcome {
	from := &io.LimitedReader{R: conn, N: maxAnswer}
	f := http2.NewFramer(conn, from)
	f.SetReuseFrames()
	f.SetMaxReadFrameSize(16 << 10)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	f.MaxHeaderListSize = maxHeaderList
	var a grpcAnswer
	for n := 0; ; n++ {
		frame, err := f.ReadFrame()
		switch {
		case err != nil && from.N <= 0, n == maxFrames:
			return unhealthy("it answered with more than a health check takes")
		case err != nil:
			return notHTTP2(err, n)
		}
		if err := a.take(f, frame); err != nil {
			return unhealthy("%v", err)
		}
		if a.done {
			return a.judge()
		}
	}
}

// notHTTP2 says what an error means after n frames.
func notHTTP2(err error, n int) Outcome {
	_, connection := errors.AsType[http2.ConnectionError](err)
	_, stream := errors.AsType[http2.StreamError](err)
	if connection || stream || errors.Is(err, http2.ErrFrameTooLarge) {
		if n == 0 {
			return unhealthy("it does not speak HTTP/2 without TLS, as gRPC does: %v", err)
		}
		return unhealthy("it breaks the rules of HTTP/2: %v", err)
	}
	return failed(err)
}

// grpcAnswer is what has come of an answer.
type grpcAnswer struct {
	headers bool // have come
	done    bool
	body    []byte
	code    int // grpc-status, -1 is none
	message string
}

// take takes in one frame.
func (a *grpcAnswer) take(f *http2.Framer, frame http2.Frame) error {
	switch frame := frame.(type) {
	case *http2.SettingsFrame:
		if !frame.IsAck() {
			f.WriteSettingsAck() // if it fails so will the next read
		}
	case *http2.PingFrame:
		if !frame.IsAck() {
			f.WritePing(true, frame.Data)
		}
	case *http2.GoAwayFrame:
		if frame.LastStreamID < 1 {
			return fmt.Errorf("it turned the connection away: %v %s", frame.ErrCode, frame.DebugData())
		}
	case *http2.RSTStreamFrame:
		return fmt.Errorf("it broke the call off: %v", frame.ErrCode)
	case *http2.DataFrame:
		if a.body = append(a.body, frame.Data()...); len(a.body) > maxBody {
			return fmt.Errorf("it answered with a message of more than %d bytes", maxBody)
		}
		a.done = frame.StreamEnded()
	case *http2.MetaHeadersFrame:
		return a.takeHeaders(frame)
	}
	return nil
}

func (a *grpcAnswer) takeHeaders(frame *http2.MetaHeadersFrame) error {
	status, kind := "", ""
	a.code = -1
	for _, h := range frame.Fields {
		switch h.Name {
		case ":status":
			status = h.Value
		case "content-type":
			kind = h.Value
		case "grpc-status":
			if n, err := strconv.ParseUint(h.Value, 10, 16); err == nil {
				a.code = int(n)
			}
		case "grpc-message":
			if a.message = h.Value; len(a.message) <= maxBody {
				if m, err := url.PathUnescape(a.message); err == nil {
					a.message = m
				}
			}
		}
	}
	switch {
	case frame.Truncated:
		return fmt.Errorf("it answered with headers of more than %d KiB", maxHeaderList>>10)
	case !a.headers && len(status) == 3 && status[0] == '1': // not the answer yet
		return nil
	case !a.headers && (status != "200" || !strings.HasPrefix(kind, "application/grpc")):
		return fmt.Errorf("it is no gRPC server: it answered HTTP %s, %q", status, kind)
	}
	a.headers, a.done = true, frame.StreamEnded()
	return nil
}

var servingNames = map[uint64]string{0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}

// judge says what a complete answer means.
func (a *grpcAnswer) judge() Outcome {
	switch {
	case !a.headers || a.code < 0:
		return unhealthy("it ended the call without a gRPC status")
	case a.code == grpcNotFound:
		return unhealthy("NOT_FOUND: its health service does not know the service that the check names: %s", a.message)
	case a.code == grpcUnimplemented:
		return unhealthy("UNIMPLEMENTED: it does not offer grpc.health.v1: %s", a.message)
	case a.code != grpcOK:
		return unhealthy("gRPC status %d: %s", a.code, a.message)
	}
	status, err := parseServing(a.body)
	if err != nil {
		return unhealthy("its answer cannot be read: %v", err)
	}
	name := servingNames[status]
	if name == "" {
		name = strconv.FormatUint(status, 10)
	}
	o := Outcome{Status: rollcall.Unhealthy, Output: name}
	if status == 1 {
		o.Status = rollcall.Healthy
	}
	return o
}

// parseServing reads a HealthCheckResponse in its gRPC envelope.
func parseServing(b []byte) (status uint64, err error) {
	switch {
	case len(b) < 5 || uint64(binary.BigEndian.Uint32(b[1:])) != uint64(len(b)-5):
		return 0, errors.New("it is not one message")
	case b[0] != 0:
		return 0, errors.New("it is compressed, which was not asked for")
	}
	for b = b[5:]; len(b) > 0; {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		b = b[n:]
		if field == 1 && kind == protowire.VarintType {
			status, n = protowire.ConsumeVarint(b)
		} else {
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		b = b[n:]
	}
	return status, nil
}
