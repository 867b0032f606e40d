// Package driver says how the registries that are measured want to be asked. It starts
// none of them. A driver over HTTP is a set of templates for package wire; etcd, which has
// a protocol of its own, is in a package below.
package driver

import "github.com/rollcall-registry/rollcall/bench/wire"

// HTTP is a registry that speaks HTTP. The instances are i-000000000 and so on; which
// service one belongs to is up to whoever fills in the templates.
type HTTP struct {
	Name      string
	Register  wire.Template // durable, of one instance
	Heartbeat wire.Template // renews one instance's lease
	Resolve   wire.Template // the healthy instances of a service
}
