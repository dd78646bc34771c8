package scsi

import (
	"os"
	"sync"
	"time"
)

// tokenIDs hands out the list identifiers of token copies. They are those of an
// initiator, which is the whole machine: another process must not ask for the
// result of an operation of ours, nor we for that of an old one. So the upper 8 bits
// are of the process, and the others go with the clock, in milliseconds: one comes
// again after hours. A target that has an operation of the same number under way
// answers 5/00/16, and the next one is tried.
type tokenIDs struct {
	mu    sync.Mutex
	begun bool
	last  uint32
}

const tokenIDBits = 24

var tokenIdentifiers tokenIDs

func (t *tokenIDs) take() uint32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	const mask = 1<<tokenIDBits - 1
	now := uint32(time.Now().UnixMilli()) & mask
	// The clock is ahead, unless more were taken than milliseconds have passed, or
	// it has come round.
	if ahead := (now - t.last) & mask; t.begun && (ahead == 0 || ahead > mask/2) {
		now = (t.last + 1) & mask
	}
	t.begun, t.last = true, now
	return uint32(os.Getpid())<<tokenIDBits | now
}
