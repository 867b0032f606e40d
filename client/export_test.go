package client

import "time"

// SettleFor has the picks of c wait at most so long for requests to instances that leave.
// It is called before anything is subscribed to.
func SettleFor(c *Client, most time.Duration) { c.local.Settle = most }
