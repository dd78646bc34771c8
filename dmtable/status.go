package dmtable

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// maxStatus bounds a status line, in bytes. The longest are those of arrays and
// multipath devices with many legs.
const maxStatus = 64 << 10

// addStatus reads the status lines of the targets whose maps depend on them. The
// table is read again afterwards: only if it is still the same do the two
// belong together.
func (c *Control) addStatus(t *Table) error {
	if !t.hasVitals() {
		return nil
	}
	err := c.call("status", unix.DM_TABLE_STATUS, statusFlags, t.Dev, func(r reply) (err error) {
		table := t.Print
		if t.Print, err = withVitals(table, r); err != nil {
			return err
		}
		return t.parseStatus(r)
	})
	if err != nil {
		return err
	}
	now, err := c.State(t.Dev)
	if err == nil && now.Print != t.Print {
		err = &Error{"status", t.Dev, ErrRace}
	}
	return err
}

func (t *Table) hasVitals() bool {
	for i := range t.Targets {
		if targets[t.Targets[i].Type].condense != nil {
			return true
		}
	}
	return false
}

// hasVitals tells whether a table has targets whose maps depend on their
// status.
func hasVitals(r reply) (bool, error) {
	for l, err := range r.lines() {
		if err != nil {
			return false, err
		}
		if targets[string(l.typ)].condense != nil {
			return true, nil
		}
	}
	return false, nil
}

// parseStatus gives each target its status line.
func (t *Table) parseStatus(r reply) error {
	i := 0
	for l, err := range r.lines() {
		if err != nil {
			return err
		}
		if i >= len(t.Targets) || !t.Targets[i].owns(l) {
			return fmt.Errorf("status of target %d: %w", i, ErrRace)
		}
		if targets[t.Targets[i].Type].condense != nil {
			if len(l.params) > maxStatus {
				return fmt.Errorf("%w: status of %d bytes", ErrReply, len(l.params))
			}
			t.Targets[i].Status = string(l.params)
		}
		i++
	}
	if i != len(t.Targets) {
		return fmt.Errorf("status of %d targets: %w", i, ErrRace)
	}
	return nil
}

// owns tells whether a status record is that of the target.
func (t *Target) owns(l line) bool {
	return uint64(t.Start) == l.start && uint64(t.Len) == l.length && t.Type == string(l.typ)
}

// withVitals adds what maps depend on in a reply of status lines to the digest
// of the table.
func withVitals(table remap.Fingerprint, r reply) (remap.Fingerprint, error) {
	mac := hmac.New(sha256.New, printKey())
	mac.Write(table[:])
	for l, err := range r.lines() {
		if err != nil {
			return table, err
		}
		if condense := targets[string(l.typ)].condense; condense != nil {
			fmt.Fprintf(mac, "%d %q ", l.start, condense(string(l.params)))
		}
	}
	return remap.Fingerprint(mac.Sum(nil)), nil
}
