package figures

import (
	"github.com/rollcall-registry/rollcall/bench/driver"
	"github.com/rollcall-registry/rollcall/bench/report"
	"github.com/rollcall-registry/rollcall/bench/wire"
)

// T1: at least 30,000 durable registrations a second, one per request over 64 connections,
// with a p99 of at most 10 ms; 12 times Consul's catalog API and, per CPU-second of the
// server, twice etcd's puts with a shared lease.
var register = Figure{
	Name: "register",
	What: "durable registrations of distinct instances, one per PUT",
	Rows: []report.Row{
		{Name: "register", Unit: "instances", Goals: []report.Goal{
			report.Rate(30_000),
			report.Share("consul", 12),
			report.PerCPU("etcd", 2),
			report.Compare("etcd-leased"),
			report.Compare("bare"),
			report.Compare("plain-log"),
		}},
		{Name: "register-at-80%", Unit: "instances", Goals: openLoopGoals},
		{Name: "register-at-30000", Unit: "instances", Goals: openLoopGoals},
	},
	Run: runRegister,
}

var openLoopGoals = []report.Goal{report.P99(10), report.CompareP99("bare")}

const (
	registerServices = 10_000
	registerConns    = 64
	openLoopConns    = 256 // to keep a schedule through a stall of some milliseconds
)

func runRegister(b *Bench) error {
	s, err := b.Start()
	if err != nil {
		return err
	}
	ids := b.IDs(registerServices)
	d := driver.Rollcall(s.Addr)
	service, id := ids()
	ceiling, err := b.Bare(s, d.Register.Append(nil, service, id), false)
	if err != nil {
		return err
	}
	closed := wire.Load{Conns: registerConns, Source: one(d.Register, ids)}
	p := Params{"services": registerServices, "connections": registerConns, "request_bytes": d.Register.Len()}
	sides := []Side{
		s.Side("rollcall", 1, closed),
		ceiling.Side("bare", 1, closed),
		b.commitSide("plain-log", commit{Log: "plain", Writers: registerConns}),
	}
	peers, err := b.etcdRegister(registerConns, registerServices)
	if err != nil {
		return err
	}
	sides = append(append(sides, peers...), b.consulRegister(registerConns, ids)...)
	if err := b.Interleave("register", p, sides...); err != nil {
		return err
	}
	at := func(row string, rate float64) error {
		l := wire.Load{Conns: openLoopConns, Rate: rate, Source: one(d.Register, ids)}
		p := Params{"services": registerServices, "connections": openLoopConns, "arrivals": "poisson", "rate": rate}
		return b.Interleave(row, p, s.Side("rollcall", 1, l), ceiling.Side("bare", 1, l))
	}
	peak := b.Rate("register", "rollcall")
	if err := at("register-at-80%", 0.8*peak); err != nil {
		return err
	}
	if peak < 30_000 {
		b.progress("register-at-30000: left out, since the peak is %.0f/s", peak)
		return nil
	}
	return at("register-at-30000", 30_000)
}

// T1: at least 120,000 instances a second in batches of 100 as JSON.
var registerBatch = Figure{
	Name: "register-batch",
	What: "durable registrations of distinct instances, 100 per POST",
	Rows: []report.Row{{Name: "register-batch", Unit: "instances", Goals: []report.Goal{
		report.Rate(120_000),
		report.Compare("bare"),
	}}},
	Run: func(b *Bench) error {
		const conns, each = 16, 100
		s, err := b.Start()
		if err != nil {
			return err
		}
		ids := b.IDs(registerServices)
		batch := driver.RollcallRegisterBatch(s.Addr, each)
		ceiling, err := b.Bare(s, batch.Append(nil, ids), false)
		if err != nil {
			return err
		}
		l := wire.Load{Conns: conns, Source: many(batch, ids)}
		p := Params{"services": registerServices, "connections": conns, "batch": each}
		return b.Interleave("register-batch", p, s.Side("rollcall", each, l), ceiling.Side("bare", each, l))
	},
}
