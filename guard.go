package rollcall

import "time"

// Guard holds back conclusions from silence: so many instances went quiet at
// once that the network, or the registry itself, is the likelier culprit. As
// long as it lasts, silent instances are suspect and stay in answers, behind the
// others.
type Guard struct {
	// Namespace and Service say what is guarded; both empty is everything.
	Namespace string `json:"namespace,omitempty"`
	Service   string `json:"service,omitempty"`
	// Since is when it began, Reason on what evidence.
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
	// Held is how many instances it keeps in answers now.
	Held int `json:"held"`
}

// Key returns the key of the guarded service, zero for everything.
func (g *Guard) Key() ServiceKey {
	if g.Service == "" {
		return ServiceKey{}
	}
	return NewServiceKey(g.Namespace, g.Service)
}
