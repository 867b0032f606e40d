package webhook

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/rollcall-registry/rollcall"
)

// minSecret is the least length of a secret, in bytes.
const minSecret = 16

// Hook is a receiver of changes of health.
type Hook struct {
	// Name names the hook in logs and metrics; no other has it.
	Name string
	// URL is where to post to: http or https, without credentials in it.
	URL string
	// Secret signs what is sent; at least 16 bytes.
	Secret string
	// Services are those it is told of, "payments" or "namespace/payments"; none
	// are all, of all namespaces.
	Services []string
	// Statuses are those that it is told of when an instance gets into them; none
	// are all.
	Statuses []rollcall.Status
}

// Validate reports what is wrong with h, as an [*rollcall.Error] that names the
// field by its name in the configuration. It shows neither URL nor secret.
func (h *Hook) Validate() error {
	if err := rollcall.CheckName("name", h.Name); err != nil {
		return err
	}
	if _, detail := parseURL(h.URL); detail != "" {
		return rollcall.Invalid("url", detail)
	}
	if len(h.Secret) < minSecret {
		return rollcall.Invalid("secret", fmt.Sprintf("has %d bytes; it needs at least %d, like those of: openssl rand -hex 32", len(h.Secret), minSecret))
	}
	for _, s := range h.Services {
		if err := checkService(s); err != nil {
			return err
		}
	}
	for _, s := range h.Statuses {
		if !slices.Contains(rollcall.Statuses(), s) {
			return rollcall.Invalid("statuses", fmt.Sprintf("%v is not a status", s))
		}
	}
	return nil
}

// parseURL returns an URL, or what is wrong with it.
func parseURL(s string) (u *url.URL, detail string) {
	u, err := url.Parse(s) // whose error shows what was parsed
	switch {
	case s == "":
		return nil, "is required"
	case err != nil:
		return nil, "is not a URL"
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, "must begin with http:// or https://"
	case u.User != nil:
		return nil, "has credentials in it; what is sent is signed with secret instead"
	case u.Hostname() == "":
		return nil, "names no host"
	}
	return u, ""
}

func checkService(s string) error {
	namespace, name := splitService(s)
	if err := rollcall.CheckName("services", namespace); err != nil {
		return err
	}
	return rollcall.CheckName("services", name)
}

func splitService(s string) (namespace, name string) {
	namespace, name, ok := strings.Cut(s, "/")
	if !ok {
		return rollcall.DefaultNamespace, s
	}
	return namespace, name
}

// wants reports whether the hook is told of an event.
func (h *hook) wants(ev *rollcall.Event) bool {
	if len(h.services) > 0 && !h.services[rollcall.NewServiceKey(ev.Namespace, ev.Service)] {
		return false
	}
	return len(h.statuses) == 0 || slices.Contains(h.statuses, ev.After)
}

// transition reports whether an event changes the health of an instance that
// was registered before and still is.
func transition(ev *rollcall.Event) bool {
	return ev.ID != "" && ev.Before != 0 && ev.After != 0 && ev.Before != ev.After
}
