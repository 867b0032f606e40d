package rollcall

import "strings"

// DefaultNamespace is the namespace of a service that names none.
const DefaultNamespace = "default"

// ServiceKey identifies a service. Both parts are lower case: names compare
// without regard to case and are shown as they were first written.
type ServiceKey struct {
	Namespace string
	Service   string
}

// NewServiceKey folds a namespace and a service name into their key.
// An empty namespace is [DefaultNamespace].
func NewServiceKey(namespace, service string) ServiceKey {
	if namespace == "" {
		namespace = DefaultNamespace
	}
	return ServiceKey{strings.ToLower(namespace), strings.ToLower(service)}
}

// String returns "namespace/service".
func (k ServiceKey) String() string { return k.Namespace + "/" + k.Service }

// Validate reports which of its names is none, as an [*Error] that names the field.
func (k ServiceKey) Validate() error {
	if err := CheckName("namespace", k.Namespace); err != nil {
		return err
	}
	return CheckName("service", k.Service)
}

// Compare orders keys by namespace, then service.
func (k ServiceKey) Compare(o ServiceKey) int {
	if c := strings.Compare(k.Namespace, o.Namespace); c != 0 {
		return c
	}
	return strings.Compare(k.Service, o.Service)
}

// Key identifies an instance: its service's key and its id, which is compared
// byte by byte.
type Key struct {
	ServiceKey
	ID string
}

// NewKey returns the key of instance id of a service.
func NewKey(namespace, service, id string) Key {
	return Key{NewServiceKey(namespace, service), id}
}

// String returns "namespace/service/id".
func (k Key) String() string { return k.ServiceKey.String() + "/" + k.ID }

// Settings are what an operator decides for one service. A nil field keeps the
// default.
type Settings struct {
	// DNSTTL is how long DNS answers may be kept, in whole seconds, 0 to 1 h; default is
	// the server's, 1 s.
	DNSTTL *Duration `json:"dns_ttl,omitempty"`
	// GuardShare is the share of the service, 0 to 1, that may leave answers by
	// lease expiry alone in one window; default 0.15.
	GuardShare *float64 `json:"guard_share,omitempty"`
	// Panic is the routable share, 0 to 1, below which everything that is not
	// known to be dead is served; default 0.5.
	Panic *float64 `json:"panic,omitempty"`
	// PositionRate is the highest rate at which positions of the service's
	// instances reach the log, in changes a second; default 500.
	PositionRate *float64 `json:"position_rate,omitempty"`
}

// ServiceSummary counts the instances of one service.
type ServiceSummary struct {
	Namespace string         `json:"namespace"`
	Service   string         `json:"service"`
	Revision  Revision       `json:"revision"`
	Instances int            `json:"instances"`
	Routable  int            `json:"routable"`
	Health    map[Status]int `json:"health"`
}
