package ends

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dmcopy/dmcopy/internal/dispatch/freeze"
	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
	"github.com/dmcopy/dmcopy/remap"
)

// still stands still, as far as it says.
type still struct{ err error }

func (still) Thawed() <-chan struct{} { return nil }
func (s still) Thaw() error           { return s.err }

// TestUnwritten: what was written while a source stood still shows that it did not, whoever says so.
func TestUnwritten(t *testing.T) {
	m := sysblocktest.New(t)
	m.Disk("sda", "8:0", 1<<20)
	dev := remap.Dev{Major: 8}
	stat := func(written, discarded int) {
		m.Set("sda", "stat", fmt.Sprintf("1 0 8 1 7 0 %d 1 0 1 1 3 0 %d 1 9 1", written, discarded))
	}
	for name, c := range map[string]struct {
		written, discarded int
		thaw, want         error
	}{
		"nothing":              {800, 80, nil, nil},
		"a write":              {808, 80, nil, freeze.ErrThawed},
		"a discard":            {800, 88, nil, freeze.ErrThawed},
		"thawed all the time":  {800, 80, freeze.ErrExpired, freeze.ErrExpired},
		"a write, and at last": {808, 80, freeze.ErrExpired, freeze.ErrThawed},
	} {
		stat(800, 80)
		w := &unwritten{Frozen: still{c.thaw}, sys: m.FS(), dev: dev}
		before, err := w.written()
		if err != nil {
			t.Fatal(err)
		}
		w.before = before
		stat(c.written, c.discarded)
		if err := w.Thaw(); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || c.thaw != nil && !errors.Is(err, c.thaw) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m.Unset("sda", "stat")
	if err := (&unwritten{Frozen: still{}, sys: m.FS(), dev: dev}).Thaw(); err == nil {
		t.Error("what cannot be told is taken for nothing")
	}
}
