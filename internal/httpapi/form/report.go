package form

import (
	"github.com/rollcall-registry/rollcall"
)

// Report reads what an instance says with a renewal.
func (d *Decoder) Report(r *rollcall.Report) error {
	*r = rollcall.Report{}
	if s := (scan{b: d.buf}); s.report(r) {
		return nil
	}
	*r = rollcall.Report{}
	return d.whole(func() error { return d.report(r) })
}

func (d *Decoder) report(r *rollcall.Report) error {
	return d.object(func(name string) error { return d.reported(r, name) })
}

// reported reads one member of a report.
func (d *Decoder) reported(r *rollcall.Report, name string) error {
	switch name {
	case "status":
		return d.status(&r.Status)
	case "note":
		return d.text(&r.Note)
	case "checks":
		return d.object(func(name string) error {
			var c rollcall.CheckReport
			err := d.object(func(name string) error {
				switch name {
				case "status":
					return d.status(&c.Status)
				case "note":
					return d.text(&c.Note)
				}
				return d.unknown()
			})
			put(&r.Checks, name, c)
			return err
		})
	case "load":
		return d.load(&r.Load)
	case "position":
		return d.position(&r.Position)
	}
	return d.unknown()
}

func (d *Decoder) load(to **rollcall.Load) error {
	if d.null() {
		return nil
	}
	l := new(rollcall.Load)
	*to = l
	return d.object(func(name string) error {
		switch name {
		case "utilization":
			return d.number(&l.Utilization)
		case "in_flight":
			return d.count(&l.InFlight)
		case "rps":
			return d.number(&l.RPS)
		case "errors":
			return d.number(&l.Errors)
		case "latency_p50_ms":
			return d.number(&l.LatencyP50)
		case "latency_p99_ms":
			return d.number(&l.LatencyP99)
		}
		return d.unknown()
	})
}

// CallerReport reads what a caller saw of at most so many instances.
func (d *Decoder) CallerReport(most int, r *rollcall.CallerReport) error {
	return d.whole(func() error {
		return d.object(func(name string) error {
			switch name {
			case "caller":
				return d.text(&r.Caller)
			case "window":
				return d.duration(&r.Window)
			case "instances":
				r.Instances = nil
				return d.array(func() error {
					if len(r.Instances) == most {
						return tooMany(most, "instances")
					}
					var o rollcall.Outcome
					err := d.outcome(&o)
					r.Instances = append(r.Instances, o)
					return err
				})
			}
			return d.unknown()
		})
	})
}

func (d *Decoder) outcome(o *rollcall.Outcome) error {
	return d.object(func(name string) error {
		switch name {
		case "id":
			return d.text(&o.ID)
		case "ok":
			return d.count(&o.OK)
		case "errors":
			return d.count(&o.Errors)
		case "latency_p50_ms":
			return d.number(&o.LatencyP50)
		case "latency_p99_ms":
			return d.number(&o.LatencyP99)
		case "in_flight":
			return d.count(&o.InFlight)
		}
		return d.unknown()
	})
}

// Renewals reads many renewals. namespace is that of those that name none.
func (d *Decoder) Renewals(namespace string, most int) (rs []rollcall.Renew, _ error) {
	err := d.whole(func() error { return d.renewals(namespace, most, &rs) })
	return rs, err
}

func (d *Decoder) renewals(namespace string, most int, rs *[]rollcall.Renew) error {
	return d.object(func(name string) error {
		if name != "renew" {
			return d.unknown()
		}
		*rs = make([]rollcall.Renew, 0, min(most, len(d.buf)/48))
		return d.array(func() error {
			if len(*rs) == most {
				return tooMany(most, "renewals")
			}
			n := rollcall.Renew{Key: rollcall.Key{ServiceKey: rollcall.ServiceKey{Namespace: namespace}}}
			err := d.object(func(name string) error {
				switch name {
				case "namespace":
					return d.text(&n.Key.Namespace)
				case "service":
					return d.text(&n.Key.Service)
				case "id":
					return d.text(&n.Key.ID)
				case "load":
					return d.load(&n.Load)
				case "position":
					return d.position(&n.Position)
				}
				return d.unknown()
			})
			if err == nil && (n.Key.Service == "" || n.Key.ID == "") {
				return d.fail("needs both service and id")
			}
			n.Key.ServiceKey = rollcall.NewServiceKey(n.Key.Namespace, n.Key.Service)
			*rs = append(*rs, n)
			return err
		})
	})
}
