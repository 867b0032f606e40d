package rollcallpb

import (
	"github.com/rollcall-registry/rollcall"
)

// FromReport returns nil for a report that says nothing.
func FromReport(r *rollcall.Report) *InstanceReport {
	if r == nil || r.Status == 0 && r.Note == "" && len(r.Checks) == 0 && r.Load == nil && r.Position == nil {
		return nil
	}
	m := &InstanceReport{Status: Status(r.Status), Note: r.Note, Load: FromLoad(r.Load), Position: FromPosition(r.Position)}
	for name, c := range r.Checks {
		m.Checks = append(m.Checks, &CheckReport{Name: name, Status: Status(c.Status), Note: c.Note})
	}
	return m
}

// Domain returns what an instance reports; nothing for nil.
func (m *InstanceReport) Domain() (r rollcall.Report, err error) {
	if m == nil {
		return r, nil
	}
	if r.Status, err = reported("status", m.Status); err != nil {
		return r, err
	}
	r.Note, r.Load, r.Position = m.Note, m.Load.Domain(), m.Position.Domain()
	if len(m.Checks) > 0 {
		r.Checks = make(map[string]rollcall.CheckReport, len(m.Checks))
	}
	for _, c := range m.Checks {
		field := "checks." + c.GetName()
		s, err := reported(field+".status", c.GetStatus())
		if err != nil {
			return r, err
		}
		if err := once(r.Checks, "checks", c.GetName(), rollcall.CheckReport{Status: s, Note: c.GetNote()}); err != nil {
			return r, err
		}
	}
	return r, nil
}

func reported(field string, s Status) (rollcall.Status, error) {
	if d := s.Domain(); d != 0 || s == 0 {
		return d, nil
	}
	return 0, rollcall.Invalid(field, "is no status")
}

// FromCallerReport returns the message that tells of a caller's outcomes with a
// service.
func FromCallerReport(service rollcall.ServiceKey, r *rollcall.CallerReport) *ReportRequest {
	m := &ReportRequest{Service: &Key{Service: service.Service, Namespace: service.Namespace}, Caller: r.Caller, Window: int64(r.Window)}
	for _, o := range r.Instances {
		m.Instances = append(m.Instances, &Outcome{
			Id: o.ID, Ok: int64(o.OK), Errors: int64(o.Errors), LatencyP50Ms: o.LatencyP50, LatencyP99Ms: o.LatencyP99, InFlight: int64(o.InFlight),
		})
	}
	return m
}

// Domain returns the caller's report.
func (m *ReportRequest) Domain() rollcall.CallerReport {
	r := rollcall.CallerReport{Caller: m.GetCaller(), Window: rollcall.Duration(m.GetWindow())}
	for _, o := range m.GetInstances() {
		r.Instances = append(r.Instances, rollcall.Outcome{
			ID: o.GetId(), OK: int(o.GetOk()), Errors: int(o.GetErrors()), LatencyP50: o.GetLatencyP50Ms(), LatencyP99: o.GetLatencyP99Ms(), InFlight: int(o.GetInFlight()),
		})
	}
	return r
}
