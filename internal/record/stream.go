package record

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rollcall-registry/rollcall"
)

// A state file (checkpoint or backup) is a magic word, the format byte, and
// frames. A frame is
//
//	type (1 byte: header, page or end) | length (4, little endian) | payload | CRC-32C (4)
//
// with the checksum over all that comes before it in the frame. The header
// comes first and the end last; the end counts the changes, so that a file cut
// between two frames is found out as well.
const (
	magic = "ROLLCALL"

	frameHeader = 'H'
	framePage   = 'P'
	frameEnd    = 'E'

	pageSize = 64 << 10 // a page is closed once it is larger
	maxFrame = 16 << 20
)

// ErrDamaged is matched by the error for a state file that is cut short or
// altered.
var ErrDamaged = errors.New("damaged file")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header says what a state file is an image of.
type Header struct {
	Log      rollcall.LogID
	Created  time.Time // when the log was created
	Revision rollcall.Revision
	Fence    rollcall.Fence
	At       time.Time // when the image was made
}

// WriteState writes the image of a log's state to w.
func WriteState(w io.Writer, h Header, state iter.Seq[rollcall.Change]) error {
	bw := bufio.NewWriterSize(w, 256<<10)
	bw.WriteString(magic)
	bw.WriteByte(Format)

	b := appendText(nil, 1, string(h.Log))
	b = appendInt(b, 2, uint64(h.Created.UnixNano()))
	b = appendInt(b, 3, uint64(h.Revision))
	b = appendInt(b, 4, uint64(h.Fence))
	b = appendInt(b, 5, uint64(h.At.UnixNano()))
	if err := writeFrame(bw, frameHeader, b); err != nil {
		return err
	}
	total := uint64(0)
	b = b[:0]
	for c := range state {
		b = appendChange(b, 1, &c)
		total++
		if len(b) >= pageSize {
			if err := writeFrame(bw, framePage, b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	if len(b) > 0 {
		if err := writeFrame(bw, framePage, b); err != nil {
			return err
		}
	}
	if err := writeFrame(bw, frameEnd, appendIntAlways(nil, 1, total)); err != nil {
		return err
	}
	return bw.Flush()
}

func writeFrame(w *bufio.Writer, typ byte, payload []byte) error {
	var head [5]byte
	head[0] = typ
	binary.LittleEndian.PutUint32(head[1:], uint32(len(payload)))
	sum := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, payload)
	w.Write(head[:])
	w.Write(payload)
	_, err := w.Write(binary.LittleEndian.AppendUint32(nil, sum))
	return err
}

// Reader reads a state file.
type Reader struct {
	Header Header

	r     *bufio.Reader
	total uint64
}

// NewReader reads the start of a state file, up to its header.
func NewReader(r io.Reader) (*Reader, error) {
	br := bufio.NewReaderSize(r, 256<<10)
	var start [len(magic) + 1]byte
	if _, err := io.ReadFull(br, start[:]); err != nil || string(start[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: this is not a Rollcall backup or checkpoint", ErrDamaged)
	}
	if f := start[len(magic)]; f != Format {
		return nil, fmt.Errorf("the file has format %d; this version reads format %d", f, Format)
	}
	rd := &Reader{r: br}
	typ, payload, err := rd.frame()
	if err == nil && typ != frameHeader {
		err = fmt.Errorf("%w: no header", ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	err = each(payload, func(f field) error {
		switch f.num {
		case 1:
			rd.Header.Log = rollcall.LogID(f.s)
		case 2:
			rd.Header.Created = timeOf(f.n)
		case 3:
			rd.Header.Revision = rollcall.Revision(f.n)
		case 4:
			rd.Header.Fence = rollcall.Fence(f.n)
		case 5:
			rd.Header.At = timeOf(f.n)
		}
		return nil
	})
	if err != nil || !rd.Header.Log.Valid() {
		return nil, fmt.Errorf("%w: bad header", ErrDamaged)
	}
	return rd, nil
}

// Next returns the next page of changes, and [io.EOF] once the whole file has
// been read and found complete.
func (rd *Reader) Next() ([]rollcall.Change, error) {
	typ, payload, err := rd.frame()
	if err != nil {
		return nil, err
	}
	switch typ {
	case framePage:
		changes := make([]rollcall.Change, 0, min(count(payload, 1), len(payload)/leastChange))
		err := each(payload, func(f field) error {
			if f.num != 1 {
				return nil
			}
			c, err := ParseChange(f.s)
			changes = append(changes, c)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		rd.total += uint64(len(changes))
		return changes, nil
	case frameEnd:
		f, _, _ := next(payload)
		if f.num != protowire.Number(1) || f.n != rd.total {
			return nil, fmt.Errorf("%w: it holds %d changes and should hold %d", ErrDamaged, rd.total, f.n)
		}
		_, err := rd.r.ReadByte()
		if err == nil {
			err = fmt.Errorf("%w: something follows its end", ErrDamaged)
		}
		return nil, err // io.EOF, as it should be
	}
	return nil, fmt.Errorf("%w: unknown frame %q", ErrDamaged, typ)
}

// frame reads one frame. What it allocates is bounded by what is there to be
// read, whatever length the frame claims.
func (rd *Reader) frame() (typ byte, payload string, err error) {
	var head [5]byte
	if _, err := io.ReadFull(rd.r, head[:]); err != nil {
		return 0, "", cutShort(err)
	}
	n := int64(binary.LittleEndian.Uint32(head[1:]))
	if n > maxFrame {
		return 0, "", fmt.Errorf("%w: a frame of %d bytes", ErrDamaged, n)
	}
	var buf bytes.Buffer
	buf.Grow(int(min(n, 2*pageSize)) + 4 + bytes.MinRead)
	if m, err := io.Copy(&buf, io.LimitReader(rd.r, n+4)); err != nil || m < n+4 {
		return 0, "", cutShort(err)
	}
	b := buf.Bytes()
	sum := crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, b[:n])
	if sum != binary.LittleEndian.Uint32(b[n:]) {
		return 0, "", fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	return head[0], string(b[:n]), nil
}

func cutShort(err error) error {
	if err == nil || err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: it is cut short", ErrDamaged)
	}
	return err
}
