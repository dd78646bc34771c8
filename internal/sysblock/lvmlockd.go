package sysblock

import (
	"errors"
	"io/fs"
	"os"
)

// lockdFiles are where lvmlockd leaves its process number and its socket (lvm2,
// daemons/lvmlockd/lvmlockd-client.h; the directories are those of the
// distributions). The LVM tools look for the first to tell whether it is running.
var lockdFiles = []string{"run/lvmlockd.pid", "run/lvm/lvmlockd.socket"}

// SharesGroups tells whether lvmlockd serves this machine, so that volume groups here
// may be changed by other machines as well. One that was killed counts: its locks are
// not released by that, nor are its files. So does one that cannot be looked for.
func (f FS) SharesGroups() bool {
	for _, name := range lockdFiles {
		if _, err := os.Lstat(f.Root().Path(name)); !errors.Is(err, fs.ErrNotExist) {
			return true
		}
	}
	return false
}
