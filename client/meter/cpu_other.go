//go:build !unix

package meter

import "time"

// cpuTime is unknown.
func cpuTime() time.Duration { return 0 }
