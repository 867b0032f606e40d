package client

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/client/internal/rest"
	"github.com/rollcall-registry/rollcall/client/internal/retry"
)

// Events returns what happened, newest first. The sequence ends with the first
// error.
func (c *Client) Events(ctx context.Context, f rollcall.EventFilter) iter.Seq2[rollcall.Event, error] {
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("namespace", f.Namespace)
	set("service", f.Service)
	set("id", f.ID)
	if !f.Since.IsZero() {
		set("since", f.Since.UTC().Format(time.RFC3339Nano))
	}
	if !f.Until.IsZero() {
		set("until", f.Until.UTC().Format(time.RFC3339Nano))
	}
	type page struct {
		Events []rollcall.Event `json:"events"`
		Next   string           `json:"next"`
	}
	return paged(ctx, c, "events", q, func(p page) ([]rollcall.Event, string) { return p.Events, p.Next })
}

// Status returns what a server says of itself.
func (c *Client) Status(ctx context.Context) (s rollcall.ServerStatus, err error) {
	err = c.http.Do(ctx, rest.Call{Method: http.MethodGet, Path: "status"}, &s)
	return s, err
}

// backupSilence is for how long a backup may stand still.
const backupSilence = time.Minute

// Backup writes a backup of everything that the registry keeps to w. It has no
// time limit of its own, but ends with an error when nothing comes for a
// minute. What it wrote is whole only if it returns nil, and even then worth
// verifying, which "rollcall backup" does.
func (c *Client) Backup(ctx context.Context, w io.Writer) error {
	ctx, alive, stop := retry.Watchdog(ctx, backupSilence)
	defer stop()
	resp, err := c.http.Send(ctx, rest.Call{Method: http.MethodGet, Path: "backup", Header: http.Header{
		"Accept":          {"application/octet-stream"},
		"Accept-Encoding": {"identity"},
	}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, alive(resp.Body)); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("the backup broke off: %w", err)
	}
	return nil
}
