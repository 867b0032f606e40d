//go:build race

package dnsapi_test

const raceEnabled = true
