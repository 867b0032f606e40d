// Package orca reads and writes ORCA load reports, with which a server says with
// each answer how busy it is: the response header [Header] of HTTP in its forms TEXT,
// JSON and BIN, and the trailer [Trailer] of gRPC, a message
// xds.data.orca.v3.OrcaLoadReport. What is read comes from strangers: it is bounded,
// and a number that is negative, infinite or none at all spoils the whole report.
//
// Beside the standard's fields our reports carry two named metrics, in_flight and
// latency_ms, which are what Prequal's rule needs to know of an instance.
package orca

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
)

// Where reports stand.
const (
	Header  = "Endpoint-Load-Metrics"
	Trailer = "endpoint-load-metrics-bin"
)

// What the two named metrics are called.
const (
	inFlight = "in_flight"
	latency  = "latency_ms"
)

// mostBytes is how long a report may be, in whichever form.
const mostBytes = 8 << 10

// Report is what is used of a load report. All numbers are finite and at least 0.
type Report struct {
	CPU         float64 // share of the processors; 1 is all
	Application float64 // share of the capacity, as the application sees it
	RPS, Errors float64 // requests and failed requests a second
	InFlight    float64 // requests being served, beside the one that is answered
	Latency     float64 // milliseconds that requests took of late
	// Probed says that InFlight and Latency were both there.
	Probed bool
	has    uint8 // which of the two were
}

// Of returns the report of a load. The request that is answered is not counted.
func Of(l rollcall.Load) Report {
	return Report{
		Application: l.Utilization, RPS: l.RPS, Errors: l.Errors,
		InFlight: float64(max(l.InFlight-1, 0)), Latency: l.LatencyP50, Probed: true,
	}
}

// Answer returns what the report says as the answer to a probe. It is false if the
// report lacks a part of that.
func (r *Report) Answer() (requests int, took time.Duration, ok bool) {
	const most = 1e9 // requests, and milliseconds
	return int(min(r.InFlight, most)), time.Duration(min(r.Latency, most) * float64(time.Millisecond)), r.Probed
}

// number checks a number of a report.
func number(v float64) error {
	if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return fmt.Errorf("%v is not a load", v)
	}
	return nil
}

// set takes in one of the standard's fields, by its name in the standard. Names that
// are not used here are passed over.
func (r *Report) set(name string, v float64) error {
	var to *float64
	switch name {
	case "cpu_utilization":
		to = &r.CPU
	case "application_utilization":
		to = &r.Application
	case "rps_fractional":
		to = &r.RPS
	case "rps":
		if r.RPS != 0 {
			return nil // the newer field says it more exactly
		}
		to = &r.RPS
	case "eps":
		to = &r.Errors
	default:
		return nil
	}
	*to = v
	return number(v)
}

// setNamed takes in a named metric.
func (r *Report) setNamed(name string, v float64) error {
	switch name {
	case inFlight:
		r.InFlight, r.has = v, r.has|1
	case latency:
		r.Latency, r.has = v, r.has|2
	default:
		return nil // somebody else's, with a meaning of its own
	}
	r.Probed = r.has == 3
	return number(v)
}

// Text appends the report in its form TEXT, as the value of [Header].
func (r *Report) Text(b []byte) []byte {
	b = append(b, "TEXT "...)
	add := func(name string, v float64) {
		if v != 0 {
			b = append(append(b, name...), '=')
			b = append(strconv.AppendFloat(b, v, 'g', 5, 64), ',')
		}
	}
	add("cpu_utilization", r.CPU)
	add("application_utilization", r.Application)
	add("rps_fractional", r.RPS)
	add("eps", r.Errors)
	if r.Probed {
		b = append(b, "named_metrics."+inFlight+"="...)
		b = append(strconv.AppendFloat(b, r.InFlight, 'g', 5, 64), ",named_metrics."+latency+"="...)
		return strconv.AppendFloat(b, r.Latency, 'g', 5, 64)
	}
	return b[:len(b)-1]
}

// Parse reads the value of [Header]. One that names no form is TEXT.
func Parse(header string) (r Report, err error) {
	if len(header) > mostBytes {
		return r, errors.New("the load report is too long")
	}
	form, rest, _ := strings.Cut(header, " ")
	switch form {
	case "TEXT":
		err = r.text(rest)
	case "JSON":
		err = r.json(rest)
	case "BIN":
		err = r.base64(rest)
	default:
		err = r.text(header)
	}
	if err != nil {
		return Report{}, err
	}
	return r, nil
}

// text reads "name=value, name=value". Some write a colon between the two.
func (r *Report) text(s string) error {
	for pair := range strings.SplitSeq(s, ",") {
		pair = strings.TrimSpace(pair)
		if pair == "" {
			continue
		}
		cut := strings.IndexAny(pair, "=:")
		if cut < 0 {
			return fmt.Errorf("%.40q is not of the form name=value", pair)
		}
		name := strings.TrimSpace(pair[:cut])
		v, err := strconv.ParseFloat(strings.TrimSpace(pair[cut+1:]), 64)
		if err != nil {
			return fmt.Errorf("%.40q: not a number", pair)
		}
		if named, ok := strings.CutPrefix(name, "named_metrics."); ok {
			err = r.setNamed(named, v)
		} else {
			err = r.set(name, v)
		}
		if err != nil {
			return fmt.Errorf("%.40q: %w", name, err)
		}
	}
	return nil
}
