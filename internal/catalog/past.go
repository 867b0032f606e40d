package catalog

import (
	"fmt"
	"iter"
	"slices"

	"github.com/rollcall-registry/rollcall"
	"github.com/rollcall-registry/rollcall/internal/record"
)

// Image returns all that is known of an instance, packed, so that what follows can
// be undone; "" for nil.
func (i *Item) Image() string { return string(i.AppendImage(nil)) }

// AppendImage appends the [Item.Image] to b. It allocates nothing where b has room.
func (i *Item) AppendImage(b []byte) []byte {
	if i == nil {
		return b
	}
	b = record.AppendEntry(b, max(i.revision, 1), 0, nil)
	ids := [1]string{i.ID()}
	c := rollcall.Change{At: i.Registered(), Revision: i.revision, Body: i.put()}
	b = record.AppendToEntry(b, &c)
	for _, f := range i.Findings() {
		c := i.said(&f, ids[:])
		b = record.AppendToEntry(b, &c)
	}
	if o := i.Override(); o != nil {
		c := i.decided(o)
		b = record.AppendToEntry(b, &c)
	}
	c = i.said(&rollcall.Finding{Slot: slotSince, Status: i.status, Since: i.Since()}, ids[:])
	return record.AppendToEntry(b, &c)
}

// put, said and decided are what makes the instance as it is of nothing.
func (i *Item) put() rollcall.InstancePut {
	return rollcall.InstancePut{Key: i.Key(), Incarnation: i.incarnation, RegisteredAt: i.Registered(), Record: i.Record()}
}

func (i *Item) said(f *rollcall.Finding, ids []string) rollcall.Change {
	return rollcall.Change{At: f.Since, Revision: i.revision, Body: rollcall.HealthPut{
		Service: *i.service, Slot: f.Slot, Status: f.Status, Reason: f.Reason, Hard: f.Hard, IDs: ids,
	}}
}

func (i *Item) decided(o *rollcall.Override) rollcall.Change {
	return rollcall.Change{At: o.Since, Revision: i.revision, Body: rollcall.OverridePut{Key: i.Key(), Override: o}}
}

// Image returns what an operator decided for the service, packed as that of an
// [Item]; "" if that is nothing.
func (v *View) Image() string {
	if v == nil || v.settings == nil {
		return ""
	}
	return v.known()
}

// known is the image of a service's settings, set or not: that the service is
// known is in it.
func (v *View) known() string {
	c := rollcall.Change{Revision: v.revision, Body: v.marker()}
	return string(record.AppendToEntry(record.AppendEntry(nil, max(v.revision, 1), 0, nil), &c))
}

// changes yields what makes the instance as it is of nothing.
func (i *Item) changes() iter.Seq[rollcall.Change] {
	return func(yield func(rollcall.Change) bool) {
		if !yield(rollcall.Change{At: i.Registered(), Revision: i.revision, Body: i.put()}) {
			return
		}
		ids := []string{i.ID()}
		for _, f := range i.Findings() {
			if !yield(i.said(&f, ids)) {
				return
			}
		}
		if o := i.Override(); o != nil && !yield(i.decided(o)) {
			return
		}
		yield(i.said(&rollcall.Finding{Slot: slotSince, Status: i.status, Since: i.Since()}, ids))
	}
}

// pastPage is how many changes of a service are applied at once.
const pastPage = 4096

// Past returns the snapshot as it was before things changed: images, as
// [Item.Image] and [View.Image] return them, of what stood under each key that
// changed since; those of services have no id. Of a zero service all are in it,
// else that one alone. What became of overrides without an instance is not told,
// and views have the revision of their newest registration or update.
func (c *Catalog) Past(now *Snapshot, service rollcall.ServiceKey, before map[rollcall.Key]string) (*Snapshot, error) {
	past := New()
	past.panic = c.panic
	var page []rollcall.Change
	flush := func(more bool) error {
		err := past.Apply(rollcall.Entry{Log: now.log, Revision: now.revision, Changes: page, Reset: true, More: more})
		page = page[:0]
		return err
	}
	changed := map[rollcall.ServiceKey][]rollcall.Key{} // instances that stood there then and changed since
	for key, image := range before {
		changed[key.ServiceKey] = append(changed[key.ServiceKey], key)
		if image == "" || key.ID == "" {
			continue
		}
		e, _, err := record.ParseEntry(image)
		if err != nil {
			return nil, fmt.Errorf("the image of %v: %w", key, err)
		}
		if page = append(page, e.Changes...); len(page) >= pastPage {
			if err := flush(true); err != nil {
				return nil, err
			}
		}
	}
	for v := range now.Views(rollcall.ServiceKey{}) {
		if service != (rollcall.ServiceKey{}) && *v.key != service {
			continue
		}
		for i := range v.All() {
			if _, ok := before[i.Key()]; !ok {
				page = slices.AppendSeq(page, i.changes())
			}
			if len(page) >= pastPage {
				if err := flush(true); err != nil {
					return nil, err
				}
			}
		}
		marker := rollcall.Change{At: v.changed, Revision: v.revision, Body: v.marker()}
		switch image, ok := before[rollcall.Key{ServiceKey: *v.key}]; {
		case len(changed[*v.key]) == 0:
			page = append(page, marker)
		case ok && image == "":
		case ok:
			e, _, err := record.ParseEntry(image)
			if err != nil {
				return nil, fmt.Errorf("the settings of %v: %w", *v.key, err)
			}
			// That a query of its name found it known says nothing of before its
			// instances changed: those that stood there then say so themselves.
			put, _ := e.Changes[0].Body.(rollcall.SettingsPut)
			if len(changed[*v.key]) == 1 || put.Settings != nil {
				page = append(page, e.Changes...)
			}
		case v.settings != nil:
			marker.Revision = 1
			page = append(page, marker)
		}
	}
	if err := flush(false); err != nil {
		return nil, err
	}
	past.next.queries = now.queries
	s, _ := past.Publish()
	return s, nil
}
