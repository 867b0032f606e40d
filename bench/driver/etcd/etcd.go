// Package etcd drives an etcd server as a service registry, through etcd's own client: an
// instance is a key below its service's, with a lease. The client costs more than the raw
// HTTP client of the other drivers, so compare what is done per CPU-second of the server.
package etcd

import (
	"context"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// value is what is known of an instance, as long as what Rollcall is told.
var value = `{"address":"10.0.3.17","port":8080,"metadata":"` + strings.Repeat("x", 300) + `"}`

const leaseSeconds = 3600

// Client has some connections to a server. It is safe for concurrent use.
type Client struct {
	conns  []*clientv3.Client
	lease  clientv3.LeaseID   // that all instances share
	leases []clientv3.LeaseID // to renew
}

// Dial connects.
func Dial(addr string, conns, leases int) (*Client, error) {
	c := &Client{}
	for range conns {
		conn, err := clientv3.New(clientv3.Config{Endpoints: []string{addr}, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
		if err != nil {
			c.Close()
			return nil, err
		}
		c.conns = append(c.conns, conn)
	}
	for range leases + 1 {
		g, err := c.conns[0].Grant(context.Background(), leaseSeconds)
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("etcd at %s: %w", addr, err)
		}
		c.leases = append(c.leases, g.ID)
	}
	c.lease, c.leases = c.leases[0], c.leases[1:]
	return c, nil
}

func (c *Client) conn(worker int) *clientv3.Client { return c.conns[worker%len(c.conns)] }

func key(service, id int) string { return fmt.Sprintf("/service-%05d/i-%09d", service, id) }

// Register puts an instance under the lease that all share.
func (c *Client) Register(worker, service, id int) error {
	_, err := c.conn(worker).Put(context.Background(), key(service, id), value, clientv3.WithLease(c.lease))
	return err
}

// RegisterLeased puts an instance under a lease of its own, which takes two calls.
func (c *Client) RegisterLeased(worker, service, id int) error {
	conn := c.conn(worker)
	g, err := conn.Grant(context.Background(), leaseSeconds)
	if err != nil {
		return err
	}
	_, err = conn.Put(context.Background(), key(service, id), value, clientv3.WithLease(g.ID))
	return err
}

// Resolve reads a service's instances, as cheaply as etcd can.
func (c *Client) Resolve(worker, service int) error {
	_, err := c.conn(worker).Get(context.Background(), fmt.Sprintf("/service-%05d/", service), clientv3.WithPrefix(), clientv3.WithSerializable())
	return err
}

// Heartbeat renews one of the leases.
func (c *Client) Heartbeat(worker, n int) error {
	_, err := c.conn(worker).KeepAliveOnce(context.Background(), c.leases[n%len(c.leases)])
	return err
}

// Close closes the connections.
func (c *Client) Close() {
	for _, conn := range c.conns {
		conn.Close()
	}
}
