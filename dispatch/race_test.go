//go:build race

package dispatch_test

// raceBytes is what the race detector adds for each fragment: it keeps variables on the
// heap that are on the stack otherwise.
const raceBytes = 16
