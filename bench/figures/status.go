package figures

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/rollcall-registry/rollcall/bench/wire"
)

// status is what a server says of itself.
type status struct {
	Instances int            `json:"instances"`
	Health    map[string]int `json:"health"`
}

func (s Server) status() (st status, err error) {
	_, body, err := wire.Once(s.Addr, wire.Request("GET", "/api/v1/status", s.Addr, "").Append(nil, 0, 0))
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(body, &st)
}

// count returns an error if the server does not hold so many instances.
func (s Server) count(want int) error {
	st, err := s.status()
	if err == nil && st.Instances != want {
		err = fmt.Errorf("%d instances are there; want %d", st.Instances, want)
	}
	return err
}

// until asks for the status again and again until it is right, and returns when it was
// asked for the last time: what it says was so before the answer came.
func (s Server) until(right func(status) bool, patience time.Duration) (time.Time, error) {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		st, err := s.status()
		now := time.Now()
		switch {
		case err != nil:
			return now, err
		case right(st):
			return now, nil
		case now.After(deadline):
			return now, fmt.Errorf("after %v: %+v", patience, st)
		}
	}
}
