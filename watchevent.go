package rollcall

// WatchEventType says what a [WatchEvent] tells.
type WatchEventType string

const (
	// WatchSnapshot opens a watch: Revision, Token and all Instances.
	WatchSnapshot WatchEventType = "snapshot"
	// WatchReset is a snapshot that replaces everything seen before: what
	// happened in between could not be told.
	WatchReset WatchEventType = "reset"
	// WatchPut is a new or changed instance: Revision, Instance.
	WatchPut WatchEventType = "put"
	// WatchHealth is a new verdict on instances: Revision, IDs, Status, Reason, and
	// EffectiveWeights unless they take no traffic.
	WatchHealth WatchEventType = "health"
	// WatchRemove is an instance that is gone, or that the query no longer
	// selects: Revision, ID, Reason.
	WatchRemove WatchEventType = "remove"
	// WatchWeights are effective weights by id: Generation, Weights. They come
	// outside the order of the other events; the latest counts.
	WatchWeights WatchEventType = "weights"
	// WatchBookmark says that the watcher is current: Revision, Token.
	WatchBookmark WatchEventType = "bookmark"
)

// WatchEvent is one record of a watch. Which fields it has goes by its type.
type WatchEvent struct {
	Type WatchEventType `json:"type"`
	// Namespace and Service say whose IDs, ID and Weights these are, in a watch
	// of more than one service or of a named query.
	Namespace string `json:"namespace,omitempty"`
	Service   string `json:"service,omitempty"`

	Revision Revision `json:"revision,omitempty"`
	// Token, where there is one, names the state that this event completes;
	// as [Query.After] it takes the watch up behind it.
	Token     Token      `json:"token,omitzero"`
	Instances []Instance `json:"instances,omitzero"`
	Instance  *Instance  `json:"instance,omitempty"`
	ID        string     `json:"id,omitempty"`
	IDs       []string   `json:"ids,omitempty"`
	Status    Status     `json:"status,omitzero"`
	Reason    string     `json:"reason,omitempty"`
	// EffectiveWeights are those of IDs, in their order.
	EffectiveWeights []uint16          `json:"effective_weights,omitempty"`
	Generation       uint64            `json:"generation,omitempty"`
	Weights          map[string]uint16 `json:"weights,omitempty"`
}
