package figures

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/load"
	"github.com/rollcall-registry/rollcall/bench/report"
)

// The first row of [dnsA] again, by another generator than ours: a second opinion.
var dnsDnsperf = Figure{
	Name: "dns-dnsperf",
	What: "A records of one service of 3 out of 1,000, as dnsperf asks, if it is installed",
	Rows: []report.Row{{Name: "dns-dnsperf", Unit: "answers", Goals: dnsGoals}},
	Run: func(b *Bench) error {
		program, err := exec.LookPath("dnsperf")
		if err != nil {
			b.progress("dns-dnsperf is left out, because dnsperf is not installed")
			return nil
		}
		w := b.addresses(3)
		s, bytes, err := b.startDNS(w)
		if err != nil {
			return err
		}
		others, err := b.dnsOthers(w, bytes)
		if err != nil {
			return err
		}
		names := filepath.Join(b.dir, "names")
		if err := os.WriteFile(names, w.names(), 0o644); err != nil {
			return err
		}
		var sides []Side
		for _, o := range append([]dnsOther{{Server: s}}, others...) {
			sides = append(sides, o.dnsperf(program, names))
		}
		return b.Interleave("dns-dnsperf", w.params(), sides...)
	},
}

// names lists what is asked for, as dnsperf reads it.
func (w dnsWork) names() (text []byte) {
	for range 100_000 {
		service, _ := w.next()
		text = fmt.Appendf(text, "%s A\n", driver.DNSName(service))
	}
	return text
}

// dnsperf returns a side that is loaded by dnsperf, for whole seconds.
func (o dnsOther) dnsperf(program, names string) Side {
	var used time.Duration
	return Side{o.Name, func(w load.Window) (report.Sample, error) {
		return o.watch(w, func(w load.Window) (sample report.Sample, err error) {
			host, port, err := net.SplitHostPort(o.DNS)
			if err != nil {
				return sample, err
			}
			seconds := max(int(w.Length.Round(time.Second)/time.Second), 1)
			cmd := exec.Command(program, "-s", host, "-p", port, "-d", names, "-l", strconv.Itoa(seconds),
				"-c", strconv.Itoa(dnsSockets), "-q", strconv.Itoa(dnsSockets*dnsFlight), "-t", "1", "-W")
			var out []byte
			w.Around(func() { out, err = cmd.Output() })
			if err != nil {
				return sample, fmt.Errorf("dnsperf: %w: %s", err, out)
			}
			used = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			return parseDnsperf(out)
		})
	}}.with(func(s *report.Sample) {
		s.GeneratorCPU += used.Seconds()
		s.OtherCPU = max(s.OtherCPU-used.Seconds(), 0)
	})
}

// parseDnsperf reads what dnsperf says at its end. An echo's answers look to it like answers
// without an error.
func parseDnsperf(out []byte) (s report.Sample, err error) {
	number := func(name string) float64 {
		for line := range bytes.Lines(out) {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(string(line)), name+":"); ok {
				v, e := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				err = errors.Join(err, e)
				return v
			}
		}
		err = errors.Join(err, fmt.Errorf("dnsperf does not say %q: %s", name, out))
		return 0
	}
	s.Seconds, s.PerSecond = number("Run time (s)"), number("Queries per second")
	s.GoodPerSecond = s.PerSecond
	s.Unanswered = int64(number("Queries lost"))
	return s, err
}
