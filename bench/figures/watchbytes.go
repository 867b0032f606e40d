package figures

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// T6: however large a service is, a change of health or weight comes to a watcher in at
// most 300 bytes of HTTP, and a registration in 100 more than its JSON.
var watchBytes = Figure{
	Name: "watch-bytes",
	What: "bytes on the wire for one change of one instance, by the size of its service",
	Rows: watchBytesRows(),
	Run: func(b *Bench) error {
		s, err := b.Start()
		if err != nil {
			return err
		}
		for i, size := range watchBytesSizes {
			if err := b.watchBytes(s, i, size); err != nil {
				return err
			}
		}
		return nil
	},
}

var watchBytesSizes = []int{1, 100, 1000}

func watchBytesRows() (rows []report.Row) {
	for _, n := range watchBytesSizes {
		rows = append(rows, report.Row{Name: fmt.Sprintf("watch-bytes-%d", n), Unit: "a change of health", Value: "health_bytes", Goals: []report.Goal{
			report.AtMost("health_bytes", 300), report.AtMost("weight_bytes", 300), report.AtMost("put_beyond_json_bytes", 100), report.Show("put_bytes"),
		}})
	}
	return rows
}

// watchBytes fills a service and changes one of its instances in each way.
func (b *Bench) watchBytes(s Server, service, size int) error {
	register := driver.Rollcall(s.Addr).Register
	for id := range size {
		if _, _, err := wire.Once(s.Addr, register.Append(nil, service, id)); err != nil {
			return err
		}
	}
	w, err := openTap(s, fmt.Sprintf("service-%05d?health=any", service))
	if err != nil {
		return err
	}
	defer w.close()
	path := fmt.Sprintf("/api/v1/services/service-%05d/instances/i-%09d", service, size/2)
	more := map[string]float64{}
	for round := 1; round <= b.Rounds; round++ {
		for _, c := range []struct {
			name, method, path, body, header string
		}{
			{"health", "POST", path + "/heartbeat", `{"status":"degraded","note":"the queue is long"}`, "Accept: */*"},
			{"weight", "PATCH", path, `{"weight":` + strconv.Itoa(round) + `}`, "Content-Type: application/merge-patch+json"},
			{"put", "PATCH", path, `{"metadata":{"round":"` + strconv.Itoa(round) + `"}}`, "Content-Type: application/merge-patch+json"},
			{"recovery", "POST", path + "/heartbeat", `{"status":"healthy"}`, "Accept: */*"},
		} {
			request := wire.Request(c.method, c.path, s.Addr, c.body, c.header).Append(nil, 0, 0)
			n, kind, json, err := w.cost(s, request)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			more[c.name+"_bytes"] = float64(n)
			if c.name == "put" {
				more["put_beyond_json_bytes"] = float64(n - json)
			}
			b.progress("%s of one of %d: a record of type %s, %d bytes", c.name, size, kind, n)
		}
		sample := report.Sample{Seconds: 1, More: more}
		if err := b.keep(fmt.Sprintf("watch-bytes-%d", size), "rollcall", round, Params{"instances": size}, sample); err != nil {
			return err
		}
	}
	return nil
}

// tap is one watch whose bytes are counted.
type tap struct {
	streams wire.Streams
	came    chan came
	bytes   int // read since the line before; only the reading thread has it
}

type came struct {
	kind  string
	bytes int
}

// openTap begins to watch, and waits for the first record.
func openTap(s Server, service string) (*tap, error) {
	t := &tap{came: make(chan came, 1000)}
	t.streams = wire.Streams{
		Addr: s.Addr, Conns: 1, Request: func(int) []byte { return driver.RollcallWatch(s.Addr, service).Append(nil, 0, 0) },
		Read: func(_, n int) { t.bytes += n },
		Line: func(_ int, line []byte, _ time.Time) {
			t.came <- came{recordType(line), t.bytes} // the bytes of a record come at once
			t.bytes = 0
		},
		Ended: func(int, error) { close(t.came) },
	}
	if err := t.streams.Open(); err != nil {
		return nil, err
	}
	go t.streams.Run()
	_, err := t.next()
	return t, err
}

// next waits for the next record that is no bookmark.
func (t *tap) next() (came, error) {
	for timeout := time.After(5 * time.Second); ; {
		select {
		case c, ok := <-t.came:
			if !ok {
				return c, fmt.Errorf("the watch ended")
			}
			if c.kind != "bookmark" {
				return c, nil
			}
		case <-timeout:
			return came{}, fmt.Errorf("no record within 5 s")
		}
	}
}

// cost makes a change and returns how many bytes told the watcher of it, and how many the
// reply had: with a PATCH, the JSON of the instance.
func (t *tap) cost(s Server, request []byte) (n int, kind string, json int, err error) {
	reply, body, err := wire.Once(s.Addr, request)
	if err != nil {
		return 0, "", 0, err
	}
	if reply.StatusCode != http.StatusOK {
		return 0, "", 0, fmt.Errorf("%s: %s", reply.Status, body)
	}
	c, err := t.next()
	return c.bytes, c.kind, len(body), err
}

func (t *tap) close() {
	t.streams.Stop()
}
