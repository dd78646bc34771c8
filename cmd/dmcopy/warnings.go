package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/superblock"
	"github.com/dmcopy/dmcopy/snapshot"
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
	found, err := within(ctx, "reading of "+job.Dst.Name, func() ([]superblock.Found, error) { return ends.EqualUUIDs(ctx, job.Src, job.Dst, job.Ranges) })
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

// unseen warns that not all who may have the ends open for writing are known: a process of
// another user, or out of this namespace of users, may not be looked into.
func (a *app) unseen(job dispatch.Job) []string {
	n, all, err := thisMachine.Unseen()
	if err != nil {
		a.log.Warn("whether all processes can be looked into was not found out", "error", err)
		return nil
	}
	return unseenProcesses(n, all, job)
}

func unseenProcesses(n int, all bool, job dispatch.Job) []string {
	what := "the open files of " + processes(n) + " may not be looked at"
	switch {
	case !all:
		what = "the processes of others do not show"
	case n == 0:
		return nil
	}
	return []string{fmt.Sprintf("whether somebody has %s or %s open for writing is not known for sure: %s: run as root, outside of containers",
		job.Src.Name, job.Dst.Name, what)}
}

func processes(n int) string {
	if n == 1 {
		return "1 process"
	}
	return fmt.Sprintf("%d processes", n)
}

// exhausts warns of snapshots whose store may be full before the copy is done: what LVM
// then does is to invalidate them.
func (a *app) exhausts(w *world, job dispatch.Job) (warnings []string) {
	if job.Dst.Dev.IsZero() {
		return nil
	}
	fillings, err := w.fillings(job.Dst.Dev)
	if err != nil {
		a.log.Warn("the snapshots of the destination were not looked at", "error", err)
		return nil
	}
	for i := range fillings {
		if text := exhausted(&fillings[i], job); text != "" {
			warnings = append(warnings, text)
		}
	}
	return warnings
}

// exhausted says what a snapshot needs and has, if that may be too little: each chunk
// that is written to, and 16 bytes for each of them (drivers/md/dm-snap-persistent.c,
// struct disk_exception), in whole chunks.
func exhausted(f *snapshot.Filling, job dispatch.Job) string {
	chunk := max(f.Chunk.Bytes(), 1)
	var chunks int64
	for _, r := range job.Ranges {
		chunks += (r.Dst+r.Len-1)/chunk - r.Dst/chunk + 1
	}
	entries := max(chunk/16, 1)
	need := (chunks + (chunks+entries-1)/entries) * chunk
	free := f.Free().Bytes()
	if need <= free {
		return ""
	}
	return fmt.Sprintf("writing to %s takes up to %s of its snapshot %s, which has %s of %s left: when that is full the snapshot is lost: extend it first (lvextend -L +%dk %s), or remove it",
		job.Dst.Name, human(need), f.Name, human(free), human(f.Total.Bytes()), (need-free+1023)/1024, f.Name)
}

// deviceName is a name of the end that every program understands.
func deviceName(e ends.Endpoint) string {
	if strings.HasPrefix(e.Name, "/") {
		return e.Name
	}
	return e.Device.Name()
}

// warn prints warnings, and returns them.
func (a *app) warn(warnings []string) []string {
	for _, text := range warnings {
		a.term.message("dmcopy: warning: " + text)
	}
	return warnings
}
