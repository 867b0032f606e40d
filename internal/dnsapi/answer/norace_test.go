//go:build !race

package answer

const (
	// raceEnabled says that the race detector is on.
	raceEnabled = false
	// rounds is how many answers a law is measured over.
	rounds = 100_000
)
