//go:build !race

package registry_test

// raceDetector says that allocations cannot be counted: under the detector a
// sync.Pool drops some of what it is given.
const raceDetector = false
