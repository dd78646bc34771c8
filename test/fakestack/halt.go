package fakestack

import (
	"fmt"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
)

// Halt stops the process that copies for a while, as SIGSTOP and a freezer do: what it
// asks the machine for is not asked before that is over, and the answers to what was
// asked come later still. Everybody else goes on, and so do the clock, what disks were
// told, and the time of holds. The caller is not stopped unless he calls [Machine.Await].
func (m *Machine) Halt(long time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if until := time.Now().Add(long); until.After(m.halted) {
		m.halted = until
	}
}

// Await returns when the process is not halted.
func (m *Machine) Await() {
	for {
		m.mu.Lock()
		left := time.Until(m.halted)
		m.mu.Unlock()
		if left <= 0 {
			return
		}
		time.Sleep(left)
	}
}

// admit is the way of a command into the kernel: who is stopped before has not made the
// system call, which looks at the clock first. What happens between that look and the
// disk is not modelled but by commands that are carried out late.
func (m *Machine) admit(notAfter boottime.Limit) error {
	m.Await()
	if err := notAfter.Check(m.Now()); err != nil {
		return fmt.Errorf("fakestack: %w: %w", blocks.ErrNotIssued, err)
	}
	return nil
}
