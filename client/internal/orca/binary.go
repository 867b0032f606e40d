package orca

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// The numbers of the fields of xds.data.orca.v3.OrcaLoadReport that are used.
const (
	fieldCPU         = 1
	fieldWholeRPS    = 3
	fieldRPS         = 6
	fieldErrors      = 7
	fieldNamed       = 8
	fieldApplication = 9
)

// names are those of the fields that are doubles.
var names = map[protowire.Number]string{
	fieldCPU: "cpu_utilization", fieldRPS: "rps_fractional", fieldErrors: "eps", fieldApplication: "application_utilization",
}

// Binary appends the report as a message: the value of [Trailer].
func (r *Report) Binary(b []byte) []byte {
	double := func(n protowire.Number, v float64) {
		if v != 0 {
			b = protowire.AppendFixed64(protowire.AppendTag(b, n, protowire.Fixed64Type), math.Float64bits(v))
		}
	}
	named := func(name string, v float64) {
		b = protowire.AppendTag(b, fieldNamed, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(2+len(name)+9))
		b = protowire.AppendString(protowire.AppendTag(b, 1, protowire.BytesType), name)
		b = protowire.AppendFixed64(protowire.AppendTag(b, 2, protowire.Fixed64Type), math.Float64bits(v))
	}
	double(fieldCPU, r.CPU)
	double(fieldRPS, r.RPS)
	double(fieldErrors, r.Errors)
	if r.Probed {
		named(inFlight, r.InFlight)
		named(latency, r.Latency)
	}
	double(fieldApplication, r.Application)
	return b
}

// ParseBinary reads a message.
func ParseBinary(b []byte) (r Report, err error) {
	if len(b) > mostBytes {
		return r, errors.New("the load report is too long")
	}
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return Report{}, protowire.ParseError(size)
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(n, kind, b); size < 0 {
			return Report{}, protowire.ParseError(size)
		}
		if err := r.field(n, kind, b[:size]); err != nil {
			return Report{}, fmt.Errorf("field %d: %w", n, err)
		}
		b = b[size:]
	}
	return r, nil
}

// field takes in a field whose value is whole.
func (r *Report) field(n protowire.Number, kind protowire.Type, value []byte) error {
	name, double := names[n]
	switch {
	case double && kind == protowire.Fixed64Type:
		v, _ := protowire.ConsumeFixed64(value)
		return r.set(name, math.Float64frombits(v))
	case n == fieldWholeRPS && kind == protowire.VarintType:
		v, _ := protowire.ConsumeVarint(value)
		return r.set("rps", float64(v))
	case n == fieldNamed && kind == protowire.BytesType:
		entry, _ := protowire.ConsumeBytes(value)
		return r.entry(entry)
	}
	return nil
}

// entry takes in a pair of the map of named metrics.
func (r *Report) entry(b []byte) error {
	var name []byte
	var v float64
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(n, kind, b); size < 0 {
			return protowire.ParseError(size)
		}
		switch {
		case n == 1 && kind == protowire.BytesType:
			name, _ = protowire.ConsumeBytes(b[:size])
		case n == 2 && kind == protowire.Fixed64Type:
			bits, _ := protowire.ConsumeFixed64(b[:size])
			v = math.Float64frombits(bits)
		}
		b = b[size:]
	}
	return r.setNamed(string(name), v)
}

func (r *Report) base64(s string) error {
	enc := base64.StdEncoding
	if len(s)%4 != 0 {
		enc = base64.RawStdEncoding
	}
	b, err := enc.DecodeString(s)
	if err != nil {
		return err
	}
	*r, err = ParseBinary(b)
	return err
}

// json reads a message in the form that protobuf gives it in JSON: names in either
// spelling, numbers also as strings.
func (r *Report) json(s string) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(s), &fields); err != nil {
		return err
	}
	for name, raw := range fields {
		if name == "named_metrics" || name == "namedMetrics" {
			var named map[string]json.RawMessage
			if err := json.Unmarshal(raw, &named); err != nil {
				return err
			}
			for name, raw := range named {
				if name != inFlight && name != latency {
					continue
				}
				if err := quoted(raw, func(v float64) error { return r.setNamed(name, v) }); err != nil {
					return fmt.Errorf("%.40q: %w", name, err)
				}
			}
			continue
		}
		switch name = snake(name); name {
		case "cpu_utilization", "application_utilization", "rps_fractional", "rps", "eps":
			if name == "rps" && (fields["rpsFractional"] != nil || fields["rps_fractional"] != nil) {
				continue
			}
			if err := quoted(raw, func(v float64) error { return r.set(name, v) }); err != nil {
				return fmt.Errorf("%.40q: %w", name, err)
			}
		}
	}
	return nil
}

// quoted passes on a number, or one in quotation marks.
func quoted(raw json.RawMessage, set func(float64) error) error {
	v, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	if err != nil {
		return errors.New("not a number")
	}
	return set(v)
}

// snake returns "cpuUtilization" as "cpu_utilization".
func snake(name string) string {
	var b strings.Builder
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			b.WriteByte('_')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}
