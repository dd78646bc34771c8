// Package copydomain finds out which leaves one hardware command can span, by
// which method and with which limits, and issues such commands.
//
// Two devices that can each copy cannot necessarily copy to each other. A pair
// of leaves is a domain only when a method for exactly this pair is known;
// otherwise the pair carries the reason why not.
package copydomain

import (
	"context"
	"log/slog"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/remap"
)

// Method is a way in which a device copies by itself.
type Method string

const (
	// NVMeCopy is the NVMe Copy command within one namespace (descriptor format 0).
	NVMeCopy Method = "nvme-copy"
	// NVMeCopyXNS is the NVMe Copy command from one namespace to another that the
	// same controllers lead to (descriptor format 2).
	NVMeCopyXNS Method = "nvme-copy-xns"
	// SCSIXCopy is EXTENDED COPY within a logical unit, or between two of one
	// target.
	SCSIXCopy Method = "scsi-xcopy"
	// SCSIODX is a token of one logical unit that another one of the target, or the
	// same, takes for the data: POPULATE TOKEN and WRITE USING TOKEN, also known as
	// ODX. It is the method where EXTENDED COPY is none.
	SCSIODX Method = "scsi-odx"
	// FileReflink makes two files of one file system share blocks (FICLONERANGE).
	FileReflink Method = "file-reflink"
	// FileCopyRange is copy_file_range(2) between two files of one server.
	FileCopyRange Method = "file-copy-range"
)

// Pair is the answer to "can one command copy from Src to Dst?".
type Pair struct {
	Src, Dst *remap.Node
	// Method is empty if there is none; then Reason and Detail say why. With a
	// method, Detail says what has to be done for it first, if anything.
	Method Method
	Reason remap.Reason
	Detail string
	// Domain names the set of leaves that the pair belongs to.
	Domain string
	// Block is the unit of positions and lengths in bytes, the same on both
	// sides.
	Block int
	// CommandBytes is the most that one command copies.
	CommandBytes int64
	// Limits describes the limits of one command to people.
	Limits string
}

// Move is one run to copy, in sectors on the leaves of a pair.
type Move struct {
	Src, Dst remap.Sector
	Len      remap.Sector
}

// CopyOptions bound the issuing of commands.
type CopyOptions struct {
	// InFlight is the number of commands at a time.
	InFlight int
	// User stands for the copy that the commands are for: all of its pairs have that many commands, and
	// several copies share what the greediest of them would have alone on a disk or array. Nil is a copy of this
	// pair alone.
	User any
	// Timeout bounds one command.
	Timeout time.Duration
	// Allowed is asked for every run that a command is about to write, just
	// before it is issued. An error keeps the command, and the rest of its
	// batch, from being issued.
	Allowed func(dst, length remap.Sector) error
	// NotAfter is the moment after which no command is begun any more. It is asked for
	// each, and the clock is looked at right before the system call.
	NotAfter boottime.Limit
	Log      *slog.Logger
}

// Copier issues commands for one pair.
type Copier interface {
	// Copy copies the moves in any order. It returns when every command has
	// come back or has been given up. What is neither in Redo nor in Fenced
	// of the result has been copied. An error refuses the whole batch, before
	// anything is issued: moves that overlap, or lie outside of the leaves.
	Copy(ctx context.Context, moves []Move) (Result, error)
	// Flush makes what was copied durable on the destination.
	Flush(ctx context.Context) error
	// Close ends the use of it, after all calls have returned. Of files it lets go.
	Close() error
}

// Result is what became of the moves of one call.
type Result struct {
	// Commands counts the commands that were issued.
	Commands int64
	// Redo are the runs that were not, or not provably, copied.
	Redo []Redo
	// Fenced are the runs that a command of unknown fate may still write.
	Fenced []Redo
}

// Redo is a run that was not copied by its method, and what follows from that.
type Redo struct {
	Move
	Reason remap.Reason
	Err    error
	// Action says what the failure means for this run, and for others.
	Action Action
}

// Action is what a failure means: see [blocks.Action], the one vocabulary of all methods. A [Copier]
// has done by itself what can be done below it, so that a [Redo] carries one of these six only.
type Action = blocks.Action

const (
	// ActionEmulate: copy this run through the host. Nothing else is concerned.
	ActionEmulate = blocks.ActionEmulate
	// ActionNotSupported: do not offer this pair again.
	ActionNotSupported = blocks.ActionNotSupported
	// ActionReresolve: the device does not look as it did when it was resolved.
	ActionReresolve = blocks.ActionReresolve
	// ActionSurface: report it to the user, and do not work around it.
	ActionSurface = blocks.ActionSurface
	// ActionCanceled: the caller ended the copy before the run was issued.
	ActionCanceled = blocks.ActionCanceled
	// ActionExpired: the moment after which no command is begun had passed before the run was
	// issued.
	ActionExpired = blocks.ActionExpired
)
