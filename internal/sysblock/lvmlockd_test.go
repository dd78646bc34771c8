package sysblock_test

import (
	"testing"

	"github.com/dmcopy/dmcopy/internal/sysblock/sysblocktest"
)

func TestSharesGroups(t *testing.T) {
	for file, want := range map[string]bool{
		"run/lvmlockd.pid": true, "run/lvm/lvmlockd.socket": true, "run/lvm": true, // which has no files in it to look for
		"run/lvmpolld.pid": false, "run/lvm/hints": false,
	} {
		m := sysblocktest.New(t)
		if m.FS().SharesGroups() {
			t.Error("groups are shared on a machine without anything")
		}
		m.File(file, "")
		if got := m.FS().SharesGroups(); got != want {
			t.Errorf("%s: %v", file, got)
		}
	}
}
