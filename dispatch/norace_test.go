//go:build !race

package dispatch_test

const raceBytes = 0
