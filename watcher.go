package rollcall

// Watcher is somebody who is told of a service's changes.
type Watcher struct {
	// Subscription names it among the server's watchers.
	Subscription string `json:"subscription"`
	Caller       string `json:"caller,omitempty"`
	// Door is how it watches: http, sse, or poll for a long poll. One with the door dns
	// stands for all resolvers that may still answer with what they were told.
	Door string `json:"door"`
	From string `json:"from,omitempty"`
	// Revision is the newest that it has acknowledged; Lag how many of the
	// service's revisions it has yet to.
	Revision Revision `json:"revision"`
	Lag      Revision `json:"lag"`
}

// Barrier is how far a change has reached the watchers of its service.
type Barrier struct {
	// Acknowledged and Pending count the watchers that have it, and those that
	// do not when the wait was over. All resolvers that were told by DNS are one.
	Acknowledged int      `json:"acknowledged"`
	Pending      int      `json:"pending"`
	Elapsed      Duration `json:"elapsed"`
}
