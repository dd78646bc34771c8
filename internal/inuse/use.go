package inuse

import "github.com/dmcopy/dmcopy/remap"

// UseKind says how a device or a file is used.
type UseKind string

const (
	// MountedRW: a file system on it is mounted and may write.
	MountedRW UseKind = "mounted read-write"
	// MountedRO: a file system on it is mounted read-only.
	MountedRO UseKind = "mounted read-only"
	// Swap: it is swap space.
	Swap UseKind = "swap"
	// Held: another device is made of it.
	Held UseKind = "held"
	// HeldRO: another device is made of it, which is read-only.
	HeldRO UseKind = "held read-only"
	// Stored: it is the storage of a loop device.
	Stored UseKind = "stored"
	// StoredRO: it is the storage of a loop device that is read-only.
	StoredRO UseKind = "stored read-only"
	// Member: it belongs to a file system of several devices that is mounted
	// or was opened.
	Member UseKind = "member"
	// Exported: a target of the kernel offers it to others.
	Exported UseKind = "exported"
	// Opened: a process has it open for writing.
	Opened UseKind = "open for writing"
	// Output: this process writes its output there.
	Output UseKind = "the output of this program"
	// Unseen: somebody has it open for writing who does not show as a process.
	Unseen UseKind = "open for writing, unseen"
	// Locked: a process has locked it as a whole for itself (flock(2)).
	Locked UseKind = "locked"
	// LockedRO: a process has locked it against those who write.
	LockedRO UseKind = "locked against writers"
)

// Writes tells whether whoever uses a device so may write to it.
func (k UseKind) Writes() bool {
	return k != MountedRO && k != HeldRO && k != StoredRO && k != LockedRO
}

// Use is one use of a device or a file.
type Use struct {
	Kind UseKind
	// Dev is the device that is used so: the one asked about, a partition of it, the
	// disk that it is a partition of, or a device that is made of it; zero for a file.
	Dev  remap.Dev
	Name string // of Dev
	// Detail is the mount point, the holder, the file system, the target or the process.
	Detail string
	// Path is the disk that Dev is, or is a part of, or that it is made of, if that
	// is another one with the name of the disk asked about, and so is taken for another
	// path to it.
	Path string
	// What [Used] tells besides: what package blockio calls the device or file, and of
	// what a process has open, which one, whether it runs this same program, and whether it
	// is a command of LVM, which has physical volumes open for writing for a while.
	ID  string
	PID int
	Own bool
	LVM bool
}

func (u Use) String() string {
	text := u.Name + " is " + string(u.Kind) + ": " + u.Detail
	if u.Path != "" {
		text += " (by " + u.Path + ")"
	}
	return text
}
