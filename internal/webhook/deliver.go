package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall"
)

const (
	attemptWithin = 10 * time.Second
	answerMost    = 64 << 10 // of an answer that is read; none of it matters
	pauseLeast    = time.Second
	pauseMost     = 5 * time.Minute
	tryFor        = 24 * time.Hour
)

// delivery is what is posted. A receiver that has seen its id has seen all of
// it.
type delivery struct {
	ID     string           `json:"id"`
	Type   string           `json:"type"` // "health"
	Lost   int              `json:"lost,omitempty"`
	Events []rollcall.Event `json:"events"`
}

// outcome is what became of one attempt, as the metrics have it.
type outcome string

const (
	delivered outcome = "delivered"
	failed    outcome = "failed" // to be tried again
	gone      outcome = "gone"   // the receiver wants no more, ever
)

func newClient(dial func(ctx context.Context, network, addr string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Timeout: attemptWithin,
		// Without a proxy, which would make the connection in place of dial.
		Transport: &http.Transport{
			DialContext: dial, DisableCompression: true, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: answerMost,
			MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (h *hook) run(ctx context.Context) {
	defer h.client.CloseIdleConnections()
	var pauses backoff
	for {
		events, lost := h.take(ctx)
		if len(events) == 0 || !h.deliver(ctx, events, lost, &pauses) {
			return
		}
	}
}

// deliver tries until the receiver has taken events, or for a day. It returns
// false if there is nothing more to be done.
func (h *hook) deliver(ctx context.Context, events []rollcall.Event, lost int, pauses *backoff) bool {
	id := rand.Text()
	body, err := json.Marshal(delivery{id, "health", lost, events})
	if err != nil {
		h.logger.Error("cannot encode events", "err", err) // a bug: there are none that cannot be
		h.giveUp(len(events), lost)
		return true
	}
	for first := h.now(); ; {
		result, err := h.attempt(ctx, id, body)
		if ctx.Err() != nil {
			return false
		}
		h.metrics.deliveries.WithLabelValues(string(result)).Inc()
		switch {
		case result == delivered:
			if pauses.span > 0 {
				h.logger.Info("webhook works again", "delivery", id)
			}
			pauses.span = 0
			return true
		case result == gone:
			h.leave()
			h.logger.Warn("webhook stopped until the next start: its receiver answered 410 (Gone)", "delivery", id)
			return false
		case h.now().Sub(first) >= tryFor:
			h.logger.Error("webhook gives events up", "delivery", id, "events", len(events), "err", h.public(err))
			h.giveUp(len(events), lost)
			return true
		}
		level := slog.LevelDebug
		if pauses.span == 0 {
			level = slog.LevelWarn // once, until it works again
		}
		d := pauses.next()
		h.logger.Log(ctx, level, "webhook failed; it is tried again", "delivery", id, "in", d.Round(time.Millisecond), "err", h.public(err))
		if !pause(ctx, d) {
			return false
		}
	}
}

// attempt posts body once.
func (h *hook) attempt(ctx context.Context, id string, body []byte) (outcome, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return failed, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "rollcall")
	req.Header.Set("Rollcall-Delivery", id)
	req.Header.Set("Rollcall-Signature", sign(h.secret, h.now(), body))
	resp, err := h.client.Do(req)
	if err != nil {
		return failed, err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, answerMost)) // so that the connection can be used again
	switch {
	case resp.StatusCode/100 == 2:
		return delivered, nil
	case resp.StatusCode == http.StatusGone:
		return gone, nil
	}
	return failed, fmt.Errorf("the receiver answered %d", resp.StatusCode)
}

// sign returns a signature: when it was made, and the HMAC-SHA256 of that, a dot
// and the body.
func sign(secret []byte, now time.Time, body []byte) string {
	at := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, secret)
	io.WriteString(mac, at+".")
	mac.Write(body)
	return "t=" + at + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}

// public returns what may be logged of an error: not the URL, whose path and
// query may be all that protects the receiver, also where a receiver repeats it.
func (h *hook) public(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	text := err.Error()
	for _, p := range h.private {
		if len(p) > 1 {
			text = strings.ReplaceAll(text, p, "…")
		}
	}
	return text
}

// backoff spaces attempts: each pause is drawn from the upper half of a span
// that doubles from twice the least pause to the longest.
type backoff struct{ span time.Duration }

func (b *backoff) next() time.Duration {
	b.span = min(max(2*b.span, 2*pauseLeast), pauseMost)
	return b.span/2 + mathrand.N(b.span/2+1)
}

// pause waits for d, or until ctx is done, and reports whether it waited.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
