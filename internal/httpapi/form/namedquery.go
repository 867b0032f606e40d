package form

import "github.com/rollcall-registry/rollcall"

// NamedQuery reads a query that is to be stored. What the registry says of one is
// skipped, so that what was read can be sent back.
func (d *Decoder) NamedQuery(q *rollcall.NamedQuery) error {
	return d.whole(func() error {
		return d.object(func(name string) error {
			switch name {
			case "namespace":
				return d.text(&q.Namespace)
			case "name":
				return d.text(&q.Name)
			case "service":
				return d.text(&q.Service)
			case "filter":
				return d.text(&q.Filter)
			case "split":
				q.Split = nil
				return d.array(func() error {
					var s rollcall.Split
					err := d.split(&s)
					q.Split = append(q.Split, s)
					return err
				})
			case "failover":
				q.Failover = nil
				return d.array(func() error {
					var t rollcall.QueryTarget
					err := d.object(func(name string) error { return d.target(&t, name) })
					q.Failover = append(q.Failover, t)
					return err
				})
			case "min_routable":
				return d.count(&q.MinRoutable)
			case "near":
				return d.text(&q.Near)
			case "limit":
				return d.count(&q.Limit)
			case "subset_size":
				return d.count(&q.SubsetSize)
			case "revision", "updated_at", "by":
				return d.skip()
			}
			return d.unknown()
		})
	})
}

func (d *Decoder) split(s *rollcall.Split) error {
	return d.object(func(name string) error {
		if name == "percent" {
			return d.number(&s.Percent)
		}
		return d.target(&s.QueryTarget, name)
	})
}

// target reads one member of a target.
func (d *Decoder) target(t *rollcall.QueryTarget, name string) error {
	switch name {
	case "namespace":
		return d.text(&t.Namespace)
	case "service":
		return d.text(&t.Service)
	case "filter":
		return d.text(&t.Filter)
	case "near":
		return d.text(&t.Near)
	}
	return d.unknown()
}
