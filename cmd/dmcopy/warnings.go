package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/superblock"
)

// renewals are the commands that give what was copied a UUID of its own. %s is the
// device.
var renewals = map[superblock.Kind]string{
	superblock.Ext:   "tune2fs -U random %s",
	superblock.XFS:   "xfs_admin -U generate %s",
	superblock.Btrfs: "btrfstune -m %s",
	superblock.Swap:  `swaplabel --uuid "$(uuidgen)" %s`,
	superblock.LUKS:  `cryptsetup luksUUID --uuid "$(uuidgen)" %s`,
	superblock.LVM:   "vgimportclone %s",
	superblock.MD:    "mdadm --assemble --update=uuid /dev/md/NEW %s",
	superblock.GPT:   "sgdisk --randomize-guids %s",
	superblock.FAT:   "fatlabel --volume-id --reset %s",
	superblock.NTFS:  "ntfslabel --new-serial %s",
}

// equalUUIDs warns of what source and destination are both called by now: whatever is
// mounted, activated or assembled by UUID can be either of them.
func (a *app) equalUUIDs(ctx context.Context, job dispatch.Job) (warnings []string) {
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	found, err := within(ctx, "reading of "+job.Dst.Name, func() ([]superblock.Found, error) { return dispatch.EqualUUIDs(ctx, job) })
	if err != nil {
		a.log.Warn("the destination was not looked at for UUIDs", "error", err)
		return nil
	}
	for _, f := range found {
		what := ""
		if f.Kind == superblock.GPT {
			what = ", and so have its partitions, and what is in them"
		}
		warnings = append(warnings, fmt.Sprintf("%s has the UUID of %s now (%s %s)%s: do not use both on one machine before one of them has got another: %s",
			job.Dst.Name, job.Src.Name, f.Kind, f.UUID, what, fmt.Sprintf(renewals[f.Kind], deviceName(job.Dst))))
	}
	return warnings
}

// deviceName is a name of the end that every program understands.
func deviceName(e dispatch.Endpoint) string {
	if strings.HasPrefix(e.Name, "/") {
		return e.Name
	}
	return e.Device.Name()
}

// warn prints warnings.
func (a *app) warn(warnings []string) {
	for _, text := range warnings {
		a.term.message("dmcopy: warning: " + text)
	}
}
