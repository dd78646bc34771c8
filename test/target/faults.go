package target

import (
	"time"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// Fault is what goes wrong with a command. The zero value of a field changes nothing.
type Fault struct {
	// Command is the name of the commands that are concerned, as [Entry.Name] has it; empty: all. Unit is the number of
	// the unit; nil: all. The first Skip that fit are spared, and so is what comes after the next Times; 0: forever.
	Command string
	Unit    *int
	Skip    int
	Times   int

	// Delay passes before the command is looked at, Work after it was, while its operation counts as running (token
	// copies only).
	Delay, Work time.Duration
	// Lose: it is carried out, and nobody is told. Drop: not even that.
	Lose, Drop bool
	// Ghost: the operation goes on when the command is taken back.
	Ghost bool
	// Status or Sense is the answer; nothing is done.
	Status scsi.Status
	Sense  scsi.SenseCode
	// Residual is the number of bytes of data that the answer claims were left over, although they were not.
	Residual int

	// Revoke and Expire end all tokens, before the command is looked at.
	Revoke, Expire bool
	// Short is the number of blocks after which a token copy ends, and says so, and after which EXTENDED COPY fails. Lie
	// is the number of blocks that a WRITE USING TOKEN says it has written, whatever it has.
	Short, Lie uint64
	// Corrupt flips a bit in what a READ, a WRITE, an EXTENDED COPY or a WRITE USING TOKEN moves.
	Corrupt bool
}

// armed is a fault with what is left of it.
type armed struct {
	Fault
	seen int
}

// Inject adds a fault. Of several that fit a command, the one that was added first counts.
func (t *Target) Inject(f Fault) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, &armed{Fault: f})
}

// Clear removes all faults and limits in force, and gives all units their own names back.
func (t *Target) Clear() error {
	t.Enforce(nil)
	t.mu.Lock()
	t.faults = nil
	t.mu.Unlock()
	for i := range t.units {
		if err := t.Impersonate(i, i); err != nil {
			return err
		}
	}
	return nil
}

// pick finds the fault of a command.
func (t *Target) pick(c *Command) Fault {
	for _, f := range t.faults {
		if f.Command != "" && f.Command != nameOf(c.CDB) || f.Unit != nil && *f.Unit != c.Unit {
			continue
		}
		f.seen++
		if f.seen > f.Skip && (f.Times == 0 || f.seen <= f.Skip+f.Times) {
			return f.Fault
		}
	}
	return Fault{}
}

// strike does what a fault does to tokens.
func (t *Target) strike(f Fault) {
	if f.Revoke {
		t.Revoke()
	}
	if f.Expire {
		t.Expire()
	}
}

// spoil flips a bit in the middle.
func (f *Fault) spoil(data []byte) {
	if f.Corrupt && len(data) > 0 {
		data[len(data)/2] ^= 0x10
	}
}
