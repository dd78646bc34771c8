package scsi

import "sync"

// listIDs hands out list identifiers. They must be unique among the commands of
// one initiator at one target, and nothing tells which devices share those, so
// they are unique in the process: 1 to 255, in turn. Other programs use some as
// well; a target then answers 5/00/16 and the next one is tried.
type listIDs struct {
	mu   sync.Mutex
	last uint8
	used [256]bool
}

var identifiers listIDs

// take returns 0 if all are in use.
func (l *listIDs) take() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range 256 {
		l.last++
		if l.last != 0 && !l.used[l.last] {
			l.used[l.last] = true
			return uint32(l.last)
		}
	}
	return 0
}

func (l *listIDs) give(id uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.used[uint8(id)] = false
}
