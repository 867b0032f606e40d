//go:build race

package answer

const (
	raceEnabled = true
	rounds      = 10_000
)
