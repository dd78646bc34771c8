package ends

import (
	"fmt"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/inuse"
	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// What is said of who uses an end.

// liveWay is what can be done about a source that is written to.
const liveWay = "or accept an inconsistent copy with --live-source"

// severity says which of several uses is to be told of: what surely writes before what
// only may.
func severity(kind inuse.UseKind) int {
	switch kind {
	case inuse.MountedRW, inuse.Swap, inuse.Member:
		return 2
	case inuse.Opened, inuse.Unseen, inuse.Locked, inuse.Exported:
		return 1
	}
	return 0
}

// describeAs says who uses what is called like that.
func describeAs(subject string, u inuse.Use) string {
	switch u.Kind {
	case inuse.Held, inuse.HeldRO:
		return u.Detail + " is made of " + subject
	case inuse.Stored, inuse.StoredRO:
		return subject + " is the storage of " + u.Detail
	case inuse.Member:
		return subject + " belongs to a file system (" + u.Detail + ")"
	case inuse.Swap:
		return subject + " is swap space"
	case inuse.Exported:
		return subject + " is exported by " + u.Detail
	case inuse.Opened:
		return u.Detail + " has " + subject + " open for writing"
	case inuse.Output:
		return "the " + u.Detail + " of this program goes to " + subject
	case inuse.Unseen:
		return u.Detail + " has " + subject + " open for writing: another namespace of processes, a target of the kernel, or a process that has mapped it or was just handed it"
	case inuse.Locked, inuse.LockedRO:
		return u.Detail + " has " + subject + " " + string(u.Kind) + " (flock)"
	}
	return subject + " is " + string(u.Kind) + " on " + u.Detail
}

// mappedName adds the name of device-mapper to the kernel's name, if there is
// one.
func mappedName(sys sysblock.FS, name string) string {
	text, err := sys.Root().Class("block", name).Text("dm/name")
	if err != nil {
		return name
	}
	return name + " (" + text + ")"
}

// wayToStill is how a source is made to stand still.
func wayToStill(u inuse.Use) string {
	switch u.Kind {
	case inuse.MountedRW, inuse.Member:
		return "unmount it or mount it read-only, copy a snapshot of it (lvcreate -s), freeze it for a short copy (copy --freeze), " + liveWay
	case inuse.Held:
		return wayOutOfUse(u) + ", copy that instead, " + liveWay
	}
	return wayOutOfUse(u) + ", " + liveWay
}

// wayOutOfUse is how that use is ended.
func wayOutOfUse(u inuse.Use) string {
	if u.LVM {
		return "wait until that command of LVM has ended"
	}
	switch u.Kind {
	case inuse.MountedRW, inuse.MountedRO, inuse.Member:
		return "unmount it first"
	case inuse.Swap:
		return "run swapoff first"
	case inuse.Exported:
		return "take it out of the configuration of that target first"
	case inuse.Opened, inuse.Locked, inuse.LockedRO:
		return "end that process first"
	case inuse.Unseen:
		return "look for it in containers, among the targets of this machine, and with: grep -l NAME /proc/*/maps"
	case inuse.Stored, inuse.StoredRO:
		return fmt.Sprintf("name /dev/%[1]s instead, unless that is the other end, or run: losetup --detach /dev/%[1]s", u.Detail)
	}
	return "deactivate what is made of it first"
}

// describe says who uses the device or file, for people.
func (o *opener) describe(u inuse.Use) string {
	subject := "it"
	if !u.Dev.IsZero() && (o.facts == nil || u.Dev != o.facts.Dev) {
		subject = u.Name
	}
	switch u.Path {
	case "":
	case u.Name:
		subject += ", another path to it,"
	default:
		subject += " (by " + u.Path + ", another path to it)"
	}
	if u.Kind == inuse.Held || u.Kind == inuse.HeldRO {
		u.Detail = mappedName(o.sys, u.Detail)
	}
	return describeAs(subject, u)
}

// uses lists who uses the device or the file. Without /sys nobody shows who has built on
// either.
func (o *opener) uses() (uses []inuse.Use, err error) {
	if err := refuseWithoutSys(o.sys, o.name); err != nil {
		return nil, err
	}
	if o.facts == nil {
		uses, err = inuse.FileUsers(o.sys, o.path, o.id)
	} else {
		uses, err = inuse.Users(o.sys, o.facts.Dev)
	}
	return uses, failure.During("open", err)
}
