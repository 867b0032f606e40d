package delivery

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func arrived(c syscall.RawConn) func() bool {
	return func() bool {
		queued := -1
		err := c.Control(func(fd uintptr) {
			if n, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil {
				queued = n
			}
		})
		return err == nil && queued == 0
	}
}
