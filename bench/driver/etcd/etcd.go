// Package etcd drives an etcd server as a service registry, through etcd's own client: an
// instance is a key below its service's, with a lease. The client costs more than the raw
// HTTP client of the other drivers, so compare what is done per CPU-second of the server.
package etcd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rollcall-registry/rollcall/bench/driver"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
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

// News puts an instance of the watched service, with another build each time.
func (c *Client) News(instance, build int) error {
	v := fmt.Sprintf(`{"address":"10.0.3.17","port":8080,%s%09d","metadata":"%s"}`, driver.Mark, build, strings.Repeat("x", 280))
	_, err := c.conn(instance).Put(context.Background(), fmt.Sprintf("/%s/i-%09d", driver.Watched, instance), v, clientv3.WithLease(c.lease))
	return err
}

// Fill puts many instances, many at a time.
func (c *Client) Fill(services, instances int) error {
	const each = 100 // etcd takes 128
	var all errgroup.Group
	all.SetLimit(64)
	for first := 0; first < instances; first += each {
		all.Go(func() error {
			var ops []clientv3.Op
			for id := first; id < min(first+each, instances); id++ {
				ops = append(ops, clientv3.OpPut(key(id%services, id), value, clientv3.WithLease(c.lease)))
			}
			_, err := c.conn(first / each).Txn(context.Background()).Then(ops...).Commit()
			return err
		})
	}
	return all.Wait()
}

// Watch watches the watched service on so many of the connections, and calls seen with
// every value that comes, from a goroutine for each.
func (c *Client) Watch(ctx context.Context, conns int, seen func(value []byte)) {
	for _, conn := range c.conns[:conns] {
		changes := conn.Watch(clientv3.WithRequireLeader(ctx), "/"+driver.Watched+"/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		<-changes // that the watch is there
		go func() {
			for r := range changes {
				for _, e := range r.Events {
					seen(e.Kv.Value)
				}
			}
		}()
	}
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
