package etcd

import (
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// Serve runs a server of one member in a folder, with etcd's defaults, until it fails. It
// calls ready with its address.
func Serve(dir string, ready func(addr string)) error {
	c := embed.NewConfig()
	c.Dir, c.LogLevel = dir, "error"
	free := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	c.ListenClientUrls, c.ListenPeerUrls = free, free
	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	defer e.Close()
	select {
	case <-e.Server.ReadyNotify():
	case <-time.After(30 * time.Second):
	case err := <-e.Err():
		return err
	}
	ready(e.Clients[0].Addr().String())
	return <-e.Err()
}
