// Package line has the lines of a session's stream, as its client sends and
// receives them.
package line

import (
	"encoding/json"

	"github.com/rollcall-registry/rollcall"
)

// Name says which instance a line is about.
type Name struct {
	Service   string `json:"service,omitempty"`
	ID        string `json:"id,omitempty"`
	Namespace string `json:"namespace,omitempty"`
}

// Of names an instance.
func Of(k rollcall.Key) Name { return Name{k.Service, k.ID, k.Namespace} }

// Sent is a line that goes to the server.
type Sent struct {
	Type  string `json:"type"`
	Ref   string `json:"ref,omitempty"`
	Token string `json:"token,omitempty"`
	Name
	Instance *rollcall.Instance `json:"instance,omitempty"`
	*rollcall.Report
}

// Encode returns the line with its end.
func (l Sent) Encode() ([]byte, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return nil, &rollcall.Error{Kind: rollcall.ErrInvalid, Detail: err.Error(), Cause: err}
	}
	return append(b, '\n'), nil
}

// Received is a line that came from the server.
type Received struct {
	Type string `json:"type"`
	Ref  string `json:"ref"`
	Name
	Token    string             `json:"token"`
	TTL      rollcall.Duration  `json:"ttl"`
	Ping     rollcall.Duration  `json:"ping"`
	Resumed  bool               `json:"resumed"`
	Revision rollcall.Revision  `json:"revision"`
	Instance *rollcall.Instance `json:"instance"`

	Problem string `json:"problem"`
	Status  int    `json:"status"`
	Title   string `json:"title"`
	Detail  string `json:"detail"`
	Field   string `json:"field"`
}
