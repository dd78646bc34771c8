package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/inuse"
	"github.com/dmcopy/dmcopy/internal/layout"
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

// warner finds what users are warned of.
type warner struct{ *app }

// equalUUIDs warns of what source and destination are both called by now: whatever is
// mounted, activated or assembled by UUID can be either of them.
func (a warner) equalUUIDs(ctx context.Context, job dispatch.Job) (warnings []string) {
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	found, err := within(ctx, "reading of "+job.Dst.Name, func() ([]superblock.Found, error) { return ends.EqualUUIDs(ctx, job.Src, job.Dst, job.Ranges) })
	if err != nil {
		a.log.Warn("dmcopy did not look for UUIDs on the destination", "error", err)
		return nil
	}
	for _, f := range found {
		what := ""
		if f.Kind == superblock.GPT {
			what = "; so do its partitions, and what is in them"
		}
		warnings = append(warnings, fmt.Sprintf("%s now has the UUID of %s (%s %s)%s: before you use both on one machine, give one of them another UUID: %s",
			shown(job.Dst.Name), shown(job.Src.Name), f.Kind, f.UUID, what, fmt.Sprintf(renewals[f.Kind], deviceName(job.Dst))))
	}
	return warnings
}

// unseen warns that not all who may have the ends open for writing are known: a process of
// another user, or out of this namespace of users, may not be looked into.
func (a warner) unseen(job dispatch.Job) []string {
	n, all, err := inuse.HiddenProcesses(thisMachine)
	if err != nil {
		a.log.Warn("dmcopy could not find out whether it sees all processes", "error", err)
		return nil
	}
	return unseenProcesses(n, all, job)
}

func unseenProcesses(n int, all bool, job dispatch.Job) []string {
	what := "it may not look at the open files of " + processes(n)
	switch {
	case !all:
		what = "it does not see the processes of others"
	case n == 0:
		return nil
	}
	return []string{fmt.Sprintf("dmcopy cannot tell for sure whether somebody has %s or %s open for writing: %s: run as root, outside of containers",
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
func (a warner) exhausts(w *world, job dispatch.Job) (warnings []string) {
	if job.Dst.Dev.IsZero() {
		return nil
	}
	snapshots, err := w.snapshots(job.Dst.Dev)
	if err != nil {
		a.log.Warn("dmcopy could not look at the snapshots of the destination", "error", err)
		return nil
	}
	for i := range snapshots {
		text := exhausted(&snapshots[i], job)
		if snapshots[i].Itself {
			text = overflows(&snapshots[i], job)
		}
		if text != "" {
			warnings = append(warnings, text)
		}
	}
	rooms, err := w.rooms(job.Dst.Dev)
	if err != nil {
		a.log.Warn("dmcopy could not look at the free space of the destination's thin pool", "error", err)
	}
	for _, room := range rooms {
		if text := lacksRoom(room, job); text != "" {
			warnings = append(warnings, text)
		}
	}
	return warnings
}

// lacksRoom says what a thin volume needs of its pool, if that may be more than there is:
// a block for each that is written to, as far as the volume lacks blocks. Those that it
// shares with snapshots of it are not counted.
func lacksRoom(room layout.PoolSpace, job dispatch.Job) string {
	need, free := min(unitsOf(job, room.Block.Bytes())*room.Block.Bytes(), room.Unmapped.Bytes()), room.Free.Bytes()
	if need <= free {
		return ""
	}
	return fmt.Sprintf("writing to %s takes up to %s of its thin pool %s, which has %s of %s left: when the pool is full, writes wait or fail: make room in it first (lvextend, or remove volumes), or copy less",
		job.Dst.Name, human(need), room.Pool, human(free), human(room.Total.Bytes()))
}

// unitsOf is how many units, in bytes, of the destination are written to.
func unitsOf(job dispatch.Job, unit int64) (units int64) {
	unit = max(unit, 1)
	for _, r := range job.Ranges {
		units += (r.Dst+r.Len-1)/unit - r.Dst/unit + 1
	}
	return units
}

// withEntries is how much of its store a snapshot takes for so many chunks: each of them,
// and 16 bytes for each (drivers/md/dm-snap-persistent.c, struct disk_exception), in whole chunks.
func withEntries(chunks, chunk int64) int64 {
	entries := max(chunk/16, 1)
	return (chunks + (chunks+entries-1)/entries) * chunk
}

// overflows says what a snapshot that is written to needs and has, if that may be too little.
func overflows(f *layout.SnapshotSpace, job dispatch.Job) string {
	chunk := max(f.Chunk.Bytes(), 1)
	most := withEntries((f.Size.Bytes()+chunk-1)/chunk, chunk) - f.Used.Bytes()
	need, free := min(withEntries(unitsOf(job, chunk), chunk), most), f.Free().Bytes()
	if need <= free {
		return ""
	}
	return fmt.Sprintf("%s is on the snapshot %s, which stores what is written to it: the copy takes up to %s of it, and it has %s of %s left: a full snapshot is lost: extend it first (lvextend -L +%dk %s), or copy less",
		job.Dst.Name, f.Name, human(need), human(free), human(f.Total.Bytes()), (need-free+1023)/1024, f.Name)
}

// lostSnapshot says of an end that can be neither read nor written that it is a snapshot
// which is lost, and what to do.
func (w *world) lostSnapshot(err error, job dispatch.Job) error {
	if !errors.Is(err, unix.EIO) {
		return err
	}
	for _, end := range []ends.Endpoint{job.Dst, job.Src} {
		if end.Dev.IsZero() {
			continue
		}
		lost, lookErr := w.lost(end.Dev)
		if lookErr == nil && len(lost) > 0 {
			return fmt.Errorf("%s is on the snapshot %s, which is lost, because it is full or its store failed: remove it (lvremove %s), take a larger one, and copy again: %w",
				end.Name, lost[0], lost[0], err)
		}
	}
	return err
}

// exhausted says what a snapshot of the destination needs and has, if that may be too little.
func exhausted(f *layout.SnapshotSpace, job dispatch.Job) string {
	chunk := max(f.Chunk.Bytes(), 1)
	need := withEntries(unitsOf(job, chunk), chunk)
	free := f.Free().Bytes()
	if need <= free {
		return ""
	}
	return fmt.Sprintf("writing to %s takes up to %s of its snapshot %s, which has %s of %s left: a full snapshot is lost: extend it first (lvextend -L +%dk %s), or remove it",
		job.Dst.Name, human(need), f.Name, human(free), human(f.Total.Bytes()), (need-free+1023)/1024, f.Name)
}

// deviceName is a name of the end that every program understands, and is nearest to the
// one that was typed: there is more than one way to understand that.
func deviceName(e ends.Endpoint) string {
	for _, path := range []string{e.Name, "/dev/" + e.Name, "/dev/mapper/" + e.Name} {
		if strings.HasPrefix(path, "/") && isEnd(path, e) {
			return failure.ShellQuote(path)
		}
	}
	return failure.ShellQuote(e.Device.Name())
}

// afterwards is what a copy that was made has to be warned of.
func afterwards(report *account.Report, job dispatch.Job) (warnings []string) {
	if report == nil {
		return nil
	}
	if report.SourceChanged {
		warnings = append(warnings, shown(job.Src.Name)+" was written to during the copy, as --live-source allows: the copy may mix its contents of several moments")
	}
	if report.SourceGrown > 0 {
		warnings = append(warnings, fmt.Sprintf("%s has grown by %s while it was copied, and these are missing in the copy: make %s as long, and copy them too (--src-offset), or copy again",
			shown(job.Src.Name), human(report.SourceGrown), shown(job.Dst.Name)))
	}
	for _, device := range report.Unwritten {
		warnings = append(warnings, "the copy may lack what was written to "+shown(device)+" and was not on disk yet, because this process may not write its page cache back: "+
			"run sync, and copy again, or run dmcopy as root with CAP_SYS_ADMIN")
	}
	return warnings
}

// warn prints warnings, and returns them.
func (a *app) warn(warnings []string) []string {
	for _, text := range warnings {
		a.term.say(kindWarning, text)
	}
	return warnings
}
