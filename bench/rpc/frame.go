package rpc

import (
	"encoding/binary"

	"golang.org/x/net/http2/hpack"
)

// Types and flags of frames.
const (
	frameData     = 0
	frameHeaders  = 1
	frameReset    = 3
	frameSettings = 4
	framePing     = 6
	frameGoAway   = 7
	frameWindow   = 8

	flagEnd        = 1 // of a stream
	flagAck        = 1
	flagEndHeaders = 4
)

const (
	frameHead   = 9
	messageHead = 5
	mostFrame   = 16 << 10 // bytes of a DATA frame
	firstWindow = 65535
	widest      = 1<<31 - 1

	settingInitialWindow = 4
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

func appendHead(b []byte, length int, kind, flags byte, stream uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), kind, flags)
	return binary.BigEndian.AppendUint32(b, stream)
}

func appendWindow(b []byte, stream uint32, more int) []byte {
	return binary.BigEndian.AppendUint32(appendHead(b, 4, frameWindow, 0, stream), uint32(more))
}

// hello returns what a connection begins with: windows as wide as they go.
func hello() []byte {
	b := appendHead([]byte(preface), 6, frameSettings, 0, 0)
	b = binary.BigEndian.AppendUint16(b, settingInitialWindow)
	b = binary.BigEndian.AppendUint32(b, widest)
	return appendWindow(b, 0, widest-firstWindow)
}

// headers returns the block of headers of a call, the same for all: nothing in it is kept
// by the server.
func headers(host, method string) (block []byte) {
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", host},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		block = append(block, 0) // a literal that is not indexed, with a name of its own
		block = hpack.AppendHuffmanString(appendLength(block, f[0]), f[0])
		block = hpack.AppendHuffmanString(appendLength(block, f[1]), f[1])
	}
	return block
}

// appendLength appends the length of a string in Huffman's code, below 127.
func appendLength(b []byte, s string) []byte {
	return append(b, 0x80|byte(hpack.HuffmanEncodeLength(s)))
}

// Append appends a message as it goes over a stream.
func Append(dst, message []byte) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, 0), uint32(len(message)))
	return append(dst, message...)
}
