package rollcall

import "time"

// Record is an instance in packed form, as it is logged and kept in memory.
// It is opaque here; package record reads and writes it.
type Record string

// Change is one thing that a writer asks for and the log keeps: what is to be
// so, and who wanted it, when, through which door and why.
type Change struct {
	At  time.Time
	By  string // principal
	Via string // door
	Why string
	// Revision is that of the entry the change was made in. It is zero in a
	// [Batch], and in an [Entry] of new changes equals the entry's; in a
	// checkpoint or a reset it is older.
	Revision Revision
	Body     Body
}

// Body is the closed sum of what can change. Each body but [HealthPut] sets or
// clears the value under one key, so that the newest one is all that counts.
type Body interface{ body() }

type (
	// InstancePut registers an instance or replaces it.
	InstancePut struct {
		Key Key
		// Incarnation is zero in a registration: the change's revision is the
		// instance's incarnation. An update keeps the one it found.
		Incarnation Revision
		// RegisteredAt is when that incarnation began; zero means Change.At.
		RegisteredAt time.Time
		Record       Record
		// Text is "" or Key.ID and Record in one piece of memory that has nothing
		// else in it: whoever keeps the two for long may keep that instead of a copy.
		// It says nothing of its own and is not stored: entries that are read back lack it.
		Text string
	}
	// InstanceRemove removes an instance.
	InstanceRemove struct{ Key Key }
	// HealthPut sets one finding about up to [MaxHealthIDs] instances of one
	// service, from one source. Ids that are not registered are passed over.
	HealthPut struct {
		Service ServiceKey
		Slot    Slot
		Status  Status
		Reason  string
		Hard    bool // see [Finding]
		IDs     []string
	}
	// OverridePut sets an operator's verdict, or ends it if nil. Its instance
	// need not exist (yet).
	OverridePut struct {
		Key      Key
		Override *Override
	}
	// SettingsPut sets a service's settings, or clears them if nil. In a state it
	// has the name that the service is shown by.
	SettingsPut struct {
		Service  ServiceKey
		Name     string // "": the key's
		Settings *Settings
	}
	// GuardPut begins a guard on a service, or with a zero Service on everything;
	// nil ends it.
	GuardPut struct {
		Service ServiceKey
		Guard   *Guard
	}
	// QueryPut stores a query under a name, which is a service's in form, or
	// removes it if nil.
	QueryPut struct {
		Name  ServiceKey
		Query *NamedQuery
	}
	// Unknown is a change of a kind this version does not know. It is kept
	// under its kind and key (parts joined by NUL), and an empty Data clears it.
	Unknown struct {
		Kind uint32
		Key  string
		Data string
	}
)

func (InstancePut) body()    {}
func (InstanceRemove) body() {}
func (HealthPut) body()      {}
func (OverridePut) body()    {}
func (SettingsPut) body()    {}
func (GuardPut) body()       {}
func (QueryPut) body()       {}
func (Unknown) body()        {}

// MaxHealthIDs is the most instances that one [HealthPut] may name.
const MaxHealthIDs = 4096

// Precondition is what must hold of an instance for a batch to be written.
// The zero values of Incarnation and Revision mean "absent".
type Precondition struct {
	Key Key
	// Incarnation, if not zero, must be the instance's.
	Incarnation Revision
	// Revision, if not zero, must be that of the instance's last put.
	Revision Revision
}

// Fence orders the terms in which a writer may write: a log refuses a fence
// lower than the highest it has seen. Zero is unfenced.
type Fence uint64

// Batch is a group of changes that are written together or not at all.
type Batch struct {
	Changes []Change
	If      []Precondition
	Fence   Fence
}

// Entry is a batch in the log, as its followers see it.
type Entry struct {
	// Log is the identity of the log it comes from.
	Log      LogID
	Revision Revision
	Changes  []Change
	// Committed is when the entry was written, by this process's clock; zero if
	// it was read back.
	Committed time.Time
	// Reset marks a page of the whole state at Revision: what no page of the
	// reset contains is gone.
	Reset bool
	// More says that another page of the reset follows; in an entry of new
	// changes, that the next one is there already, so that a follower may put
	// off what it does once for many.
	More bool
}

// Latest returns the latest of t and the times of the entry's changes.
func (e *Entry) Latest(t time.Time) time.Time {
	for i := range e.Changes {
		if at := e.Changes[i].At; at.After(t) {
			t = at
		}
	}
	return t
}

// LogStatus is how a log is.
type LogStatus struct {
	ID LogID
	// Created is when that log began; First says that it was opened for the
	// first time since.
	Created time.Time
	First   bool
	// Revision is that of the newest entry.
	Revision Revision
	// Err is why the log takes no writes; nil if it does.
	Err error
}

// Event tells what became of one instance, or of what was decided for one
// service: the history that an operator reads.
type Event struct {
	Revision Revision  `json:"revision"`
	At       time.Time `json:"at"`
	// Type is registered, updated, removed, health, override, override_cleared,
	// settings, query (the one that has the service's name), query_removed,
	// flapping, guard, guard_ended, panic, panic_ended, pause (the registry itself
	// was stopped) or gap: what happened before is not known as a whole.
	Type      string `json:"type"`
	Namespace string `json:"namespace,omitempty"`
	Service   string `json:"service,omitempty"`
	ID        string `json:"id,omitempty"`
	// Before and After are the verdicts around it; zero where it had none.
	Before Status `json:"before,omitzero"`
	After  Status `json:"after,omitzero"`
	By     string `json:"by,omitempty"`
	Via    string `json:"via,omitempty"`
	Why    string `json:"why,omitempty"`
}
