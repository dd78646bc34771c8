package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/remap"
)

// reasonWords says what the slugs mean. The slugs are made where they arise;
// one that is missing here prints as it is.
var reasonWords = map[remap.Reason]string{
	"layer:crypt":                 "encrypted: the data has to pass the kernel's encryption",
	"layer:crypt-integrity":       "encrypted with tags, which belong to the places of their sectors",
	"layer:crypt-random-iv":       "encrypted with vectors that are stored with the sectors",
	"layer:crypt-iv-offset":       "encrypted with positions that wrap",
	"layer:crypt-alignment":       "encrypted in sectors that the table does not respect",
	"layer:inlinecrypt-iv-offset": "encrypted with positions that wrap",
	"layer:inlinecrypt-alignment": "encrypted in sectors that the table does not respect",
	"layer:default-key":           "encrypted but for what the file system above has encrypted itself: nothing may be copied through it, see the note on it",
	"layer:dm-gap":                "the device-mapper table has a gap here",
	"layer:dm-no-table":           "the mapped device has no table",
	"layer:error":                 "the error target: reads and writes fail here",
	"layer:snapshot-begin":        "a snapshot that does not begin at the start of its device",
	"layer:thin-pool-begin":       "a thin pool that does not begin at the start of its device",
	"layer:snapshot-write":        "writing to a snapshot makes exceptions, which the kernel has to note",
	"layer:snapshot-transient":    "the exceptions of this snapshot are in memory only",
	"layer:snapshot-invalid":      "the snapshot is full or invalid",
	"layer:snapshot-unread":       "the exceptions of the snapshot were not read",
	"layer:thin-unread":           "the blocks of the thin volume are not known without a metadata snapshot of its pool",
	"layer:thin-failed":           "the thin volume has failed",
	"layer:thin-shared":           "thin blocks that a snapshot shares: the kernel has to copy them first",
	"layer:thin-unmapped":         "thin blocks that are not there yet: the kernel has to provision them; --prime-thin has it do so ahead of time",
	"layer:thin-pool-status":      "the thin pool has failed, or says what dmcopy does not know",
	"layer:cache-begin":           "a cache that does not begin at the start of its device",
	"layer:cache-dirty":           "blocks of the cache are newer than its origin",
	"layer:cache-needs-check":     "the metadata of the cache is read-only, or has to be checked",
	"layer:cache-status":          "the cache has failed, or says what dmcopy does not know",
	"layer:cache-write":           "what is written below a cache would be hidden by the copies in it",
	"layer:clone-begin":           "a clone that does not begin at the start of its device",
	"layer:clone-hydrating":       "the clone has not copied all of its source yet",
	"layer:clone-read-only":       "the metadata of the clone cannot be written",
	"layer:clone-status":          "the clone has failed, or says what dmcopy does not know",
	"layer:dust":                  "dust: a target that fails on purpose",
	"layer:ebs-write":             "ebs: what is written below it would be hidden by its buffers",
	"layer:era-begin":             "an era target that does not begin at the start of its device",
	"layer:era-write":             "era: the kernel has to note which blocks are written",
	"layer:flakey":                "flakey: a target that fails on purpose",
	"layer:integrity":             "dm-integrity: the data has to pass its check, unless --trust-integrity",
	"layer:integrity-journal":     "dm-integrity: what was written last may be in its journal only",
	"layer:integrity-superblock":  "dm-integrity: its superblock was not read, or is not that of the table",
	"layer:integrity-write":       "dm-integrity: the kernel has to write the tags of the data",
	"layer:log-writes-begin":      "a log-writes target that does not begin at the start of its device",
	"layer:log-writes-write":      "log-writes: the kernel has to log what is written",
	"layer:mirror-log":            "the log of the mirror is kept by a daemon",
	"layer:mirror-no-leg":         "no leg of the mirror is known to be right",
	"layer:mirror-status":         "the mirror says what dmcopy does not know",
	"layer:multipath-begin":       "a multipath target that does not begin at the start of its device",
	"layer:multipath-no-path":     "no path of the multipath device works",
	"layer:multipath-status":      "the multipath device says what dmcopy does not know",
	"layer:raid-begin":            "an array that does not begin at the start of its device",
	"layer:raid-far":              "far copies, whose distance only the superblock of a member tells, and it was not read or does not fit",
	"layer:raid-first-member":     "the first member of the array, which tells where its data begins, is missing",
	"layer:raid-journal":          "the journal of the array may have what its members have not",
	"layer:raid-reshape":          "the array is being reshaped, or was: members are added, removed or moved",
	"layer:raid-status":           "the array says what dmcopy does not know",
	"layer:raid-syncing":          "the members of the array are being brought in sync or checked",
	"layer:raid-tail":             "behind the last whole chunk of the array, where the kernel has nothing",
	"layer:snapshot-merge":        "a snapshot that is being merged into its origin",
	"layer:snapshot-origin-begin": "an origin of snapshots that does not begin at the start of its device",
	"layer:snapshot-origin-write": "the origin of snapshots: the kernel has to save for them what is overwritten",
	"layer:unstriped-begin":       "an unstriped target that does not begin at the start of its device: kernels before 2026 map it otherwise",
	"layer:verity":                "dm-verity: the data has to pass its check, unless --trust-verity",
	"layer:verity-corrupted":      "dm-verity: blocks with wrong hashes were seen",
	"layer:verity-fec":            "dm-verity: the kernel may have to correct the data",
	"layer:verity-status":         "dm-verity says what dmcopy does not know",
	"layer:verity-write":          "dm-verity: read-only",
	"layer:verity-zero-blocks":    "dm-verity: some blocks read as zeroes, whatever is stored",
	"layer:writecache-dirty":      "data of the writecache is not on its origin yet",
	"layer:writecache-failed":     "the writecache has failed",
	"layer:writecache-status":     "the writecache says what dmcopy does not know",
	"layer:writecache-write":      "what is written below a writecache would go past it",
	"layer:unread":                "the kernel does not say what this device is, or says what cannot be: see the note on it in dmcopy tree",
	"layer:unread-below":          "the kernel does not say what this device is made of: see the note on it in dmcopy tree",
	"layer:file":                  "a regular file, and a device that is not stored in one",
	"layer:impossible-map":        "a layer gave an answer that cannot be true",
	"layer:no-readable-leg":       "no leg of the mirror can be read below it",
	"layer:redundant-destination": "mirrors and parity are written through the kernel only, which keeps them consistent",
	"layer:replica-legs":          "a leg of the mirror is not plain data all the way down",
	"layer:md":                    "an md array that was not read",
	"layer:md-bitmap":             "the bitmap of the array allows its copies to differ, or is not known",
	"layer:md-broken":             "the array is broken: too many members have failed",
	"layer:md-clustered":          "the array is shared by the nodes of a cluster",
	"layer:md-container":          "a container of arrays, which holds no data itself",
	"layer:md-external":           "a process keeps the metadata of the array: the kernel has to tell it what is written",
	"layer:md-gap":                "beyond the end of the array",
	"layer:md-geometry":           "what the kernel says of the array does not fit together",
	"layer:md-inactive":           "the array is not running",
	"layer:md-journal":            "the newest data may be in the journal of the array only",
	"layer:md-layout":             "the layout of the array is not known, or does not tell where its data is",
	"layer:md-readonly":           "the array is read-only",
	"layer:md-reshape":            "the array is being reshaped, or is about to be",
	"layer:md-suspended":          "the array is suspended",
	"layer:md-unsynced":           "the copies in the array are not in sync here",
	"layer:dm-unsynced":           "the copies in the array are not in sync here",
	"layer:loop":                  "loop device: its storage is a file",
	"layer:loop-crypt":            "loop device that the loop driver encrypts",
	"layer:bcache":                "bcache: part of the data may be in the cache",
	"layer:bcache-detaching":      "bcache: the cache is being attached or detached",
	"layer:bcache-dirty":          "bcache: a part of the data is in the cache only",
	"layer:bcache-errors":         "bcache: I/O to the backing device has failed, which may lack what the cache has",
	"layer:bcache-flash":          "bcache: a volume that lives in the cache alone",
	"layer:bcache-inconsistent":   "bcache: run without the cache that has a part of its data",
	"layer:bcache-stopped":        "bcache: the device is stopped, or I/O to it is disabled",
	"layer:bcache-superblock":     "bcache: the superblock of the backing device is not that of the device",
	"layer:bcache-unread":         "bcache: the superblock of the backing device, which tells where the data begins, was not read",
	"layer:bcache-write":          "what is written below a bcache device would be hidden by its cache",
	"layer:bcache-writeback":      "bcache in mode writeback: the newest data may be in the cache only",
	"layer:drbd":                  "drbd: the data is on other machines as well",

	"domain:no-method":                "the disk has no copy command that dmcopy knows",
	"domain:no-copy-command":          "the disk has no command to copy by itself",
	"domain:not-captured":             "the snapshot does not say whether the disk can copy",
	"domain:different-devices":        "source and destination are on different kinds of disks",
	"domain:different-subsystem":      "source and destination are in different NVMe subsystems",
	"domain:cross-namespace":          "source and destination are in different NVMe namespaces",
	"domain:cross-namespace-disabled": "copies between NVMe namespaces are not enabled: see --enable-cross-namespace, which newer kernels refuse",
	"domain:zoned":                    "zones on one side only, on different disks, or on a disk that is no NVMe namespace",
	"domain:permission":               "not allowed to send commands to the disk: run as root",
	"domain:probe-failed":             "the disk could not be identified",
	"domain:proof-failed":             "the first copy of the disk was compared and was wrong: the pair is not used any more",
	"domain:unproven":                 "nothing could tell whether the disk copies what it says",
	"domain:identity-changed":         "the disk is not the one that was planned with",
	"domain:command-set":              "a namespace of another command set (such as key-value)",
	"domain:command-set-unknown":      "the command set of the namespace is unknown",
	"domain:format-2-unsupported":     "the controller lacks descriptor format 2 of the Copy command, which reaches other namespaces",
	"domain:namespace-not-reachable":  "the controller that writes to the destination does not reach the source",
	"domain:format-0-unsupported":     "the controller lacks descriptor format 0 of the Copy command",
	"domain:metadata":                 "the blocks of the disk have metadata",
	"domain:protection":               "the namespace has protection information, which the kernel checks and a Copy command would not",
	"domain:write-protected":          "the namespace is write-protected",

	"domain:different-file-systems": "the files are on different file systems",
	"domain:file-system":            "the file system does not copy by itself, or not in a way that dmcopy knows",
	"domain:file-unreachable":       "the file of the loop device is deleted, or cannot be seen from here",

	"domain:block-size":              "source and destination have blocks of different sizes",
	"domain:descriptors":             "the disk does not know the descriptors of EXTENDED COPY that dmcopy sends",
	"domain:different-target":        "nothing proves that one target has both disks",
	"domain:duplicate-designator":    "several disks have the same name",
	"domain:no-designator":           "the disk has no name that a command could use",
	"domain:no-operating-parameters": "the disk does not tell the limits of its copy commands",
	"domain:not-a-disk":              "the device is not a disk",
	"domain:not-distinct":            "the two disks cannot be told apart",
	"domain:one-unit-only":           "the disk copies within one logical unit only",

	"limit:alignment": "not aligned to the blocks of the disk, or of the file system, on both sides",
	"limit:zero":      "the namespace reports a limit of zero for Copy",

	"limit:granularity": "does not fit the units in which the disk copies",

	"layout:drifted":     "moved out of the way of a write to the origin while it was copied",
	"zone:unwritten":     "above the write pointer of a zone of the source",
	"zone:order":         "the host has begun the zone, and so writes the rest of it",
	"zone:write-pointer": "the write pointer of the zone stands elsewhere",
	"zone:unknown":       "the disk does not tell of its zones",

	"hold:unavailable": "nothing can hold the layout of the destination still",
	"hold:shared":      "lvmlockd is running, and other machines may change the volume group; --hold=trust if the volume is active here only",
	"hold:slow":        "the destination is so slow that whoever changes its layout would have to wait for too long",
	"hold:contended":   "somebody was changing the layout of the destination",
	"hold:expired":     "dmcopy was stopped, or did not get to run: the hold on the layout was about to end before the command was begun",
	"hold:lost":        "the hold on the layout ended early; the bytes were copied again",
	"layout:changed":   "the layout changed during the copy; the bytes were copied again",

	"policy:never": "asked for with --offload=never",
	"source:zero":  "the source reads as zeroes here",
	"source:hole":  "a hole of the source file",
	"state:done":   "copied before, as the state file says",

	"file:not-supported": "the file system cannot share or copy these blocks",
	"file:cross-device":  "the file system says that the files are on different ones",
	"file:refused":       "the file system cannot share blocks of these two files (checksums, swap, block sizes)",
	"file:in-use":        "one of the files is in use as swap space or as a program",
	"file:denied":        "the file system does not allow it",
	"file:no-space":      "the file system has no room for the metadata of shared blocks",
	"file:short":         "the file system copied nothing, and said that it succeeded",
	"file:size":          "a file became shorter while it was copied",
	"file:wrong-count":   "the file system said that it copied more than it was asked for",
	"file:unknown":       "the file system failed in a way that has no number",

	"device:changed":          "the disk does not look as it did",
	"device:identify":         "the disk does not answer when it is asked who it is",
	"device:list-id":          "too many commands are under way to number another one",
	"device:short-transfer":   "the disk has not taken the whole command",
	"device:timeout":          "the disk did not answer in time",
	"device:no-answer":        "the disk did not answer",
	"device:untold":           "the disk did not tell what it has copied",
	"device:terminated":       "the copy was taken back from the disk before it had ended",
	"device:operation-failed": "the disk began to copy and failed",
	"device:not-issued":       "the command could not be sent",
	"device:status-0x002":     "the disk refused the command (Invalid Field)",
	"device:status-0x00b":     "the disk refused the command (Invalid Namespace or Format)",
	"device:status-0x185":     "the disk cannot copy between these two namespaces (Incompatible Namespace or Format)",
	"device:status-0x188":     "the disk cannot reach the other namespace (Namespace Not Reachable)",
	"device:status-0x183":     "the disk refused the command (Command Size Limit Exceeded)",
	"device:status-0x281":     "the disk could not read what it was to copy (Unrecovered Read Error)",
}

// reasonFamilies explain the slugs that name something in their second half.
var reasonFamilies = []struct{ prefix, words string }{
	{"layer:", "dmcopy does not look below layers of this type"},
	{"device:status-", "the disk refused the command with this NVMe status"},
	{"device:sense-", "the disk refused the command with this SCSI sense code"},
	{"device:errno-", "the kernel refused the command with this error"},
	{"file:errno-", "the file system failed with this error"},
}

// reasonEndings explain the slugs that name a layer in their first half and
// something that befalls layers of several types in their second.
var reasonEndings = []struct{ suffix, words string }{
	{"-unparsed", "the kernel says of this layer what dmcopy does not understand"},
	{"-gap", "beyond the end of the layer"},
	{"-missing-member", "the member of the array that has this cannot be read"},
	{"-degraded", "a member of the array is missing: the kernel has to note what it lacks"},
	{"-parity", "the kernel has to compute the parity of what is written"},
}

// words is what a slug means; "" if there is nothing to add to it.
func words(why remap.Reason) string {
	if text, ok := reasonWords[why]; ok {
		return text
	}
	if strings.HasPrefix(string(why), "layer:") {
		for _, ending := range reasonEndings {
			if strings.HasSuffix(string(why), ending.suffix) {
				return ending.words
			}
		}
	}
	for _, family := range reasonFamilies {
		if strings.HasPrefix(string(why), family.prefix) {
			return family.words
		}
	}
	return ""
}

// explainReason is the slug with its meaning.
func explainReason(why remap.Reason) string {
	if text := words(why); text != "" {
		return text + " (" + string(why) + ")"
	}
	return string(why)
}

// printReasons lists how many bytes were or will be kept from the devices.
func printReasons(w io.Writer, reasons []account.ReasonBytes, total int64) {
	for _, r := range reasons {
		fmt.Fprintf(w, "  %12s  %7s  %s\n", human(r.Bytes), percent(r.Bytes, total), explainReason(r.Reason))
	}
}

// names lists reasons by their slugs.
func names(reasons []remap.Reason) string {
	slugs := make([]string, len(reasons))
	for i, why := range reasons {
		slugs[i] = string(why)
	}
	return strings.Join(slugs, ", ")
}
