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
	"layer:crypt":                 "encrypted: the kernel has to decrypt and encrypt the data",
	"layer:crypt-integrity":       "encrypted with tags, and each tag belongs to the place of its sector",
	"layer:crypt-random-iv":       "encrypted with random vectors, which are stored with the sectors",
	"layer:crypt-iv-offset":       "encrypted, and the positions that the cipher counts wrap around here",
	"layer:crypt-alignment":       "encrypted in sectors whose size the device-mapper table does not keep to",
	"layer:inlinecrypt-iv-offset": "encrypted, and the positions that the cipher counts wrap around here",
	"layer:inlinecrypt-alignment": "encrypted in sectors whose size the device-mapper table does not keep to",
	"layer:default-key":           "default-key encrypts all but what the file system encrypts: nothing may be copied through it, see its note",
	"layer:dm-gap":                "the device-mapper table has a gap here",
	"layer:dm-no-table":           "the mapped device has no table",
	"layer:error":                 "the error target: every read and write fails here",
	"layer:snapshot-begin":        "the line of the snapshot does not start at sector 0 of its device",
	"layer:thin-pool-begin":       "the line of the thin pool does not start at sector 0 of its device",
	"layer:snapshot-write":        "a write to a snapshot makes exceptions, which only the kernel can record",
	"layer:snapshot-transient":    "the snapshot keeps its exceptions in memory only",
	"layer:snapshot-invalid":      "the snapshot is full or invalid",
	"layer:snapshot-unread":       "dmcopy could not read the exceptions of the snapshot",
	"layer:thin-unread":           "dmcopy could not read the map of the thin volume: that takes its pool's metadata snapshot",
	"layer:thin-failed":           "the thin volume has failed",
	"layer:thin-shared":           "a snapshot shares these thin blocks: the kernel has to copy them before they are overwritten",
	"layer:thin-unmapped":         "the thin volume has no blocks here yet: the kernel has to provision them; --prime-thin makes it do so first",
	"layer:thin-pool-status":      "the thin pool has failed, or reports a state that dmcopy does not know",
	"layer:cache-begin":           "the line of the cache does not start at sector 0 of its device",
	"layer:cache-dirty":           "the cache holds data that is newer than that of its origin",
	"layer:cache-needs-check":     "the metadata of the cache is read-only, or needs a check",
	"layer:cache-status":          "the cache has failed, or reports a state that dmcopy does not know",
	"layer:cache-write":           "the cache holds copies, which would hide what is written below it",
	"layer:clone-begin":           "the line of the clone target does not start at sector 0 of its device",
	"layer:clone-hydrating":       "the clone target has not copied all of its source yet",
	"layer:clone-read-only":       "the metadata of the clone target is read-only",
	"layer:clone-status":          "the clone target has failed, or reports a state that dmcopy does not know",
	"layer:dust":                  "the dust target, which fails on purpose",
	"layer:ebs-write":             "the buffers of the ebs target would hide what is written below it",
	"layer:era-begin":             "the line of the era target does not start at sector 0 of its device",
	"layer:era-write":             "the era target has to record which blocks are written",
	"layer:flakey":                "the flakey target, which fails on purpose",
	"layer:integrity":             "dm-integrity has to check the data; --trust-integrity leaves the check out",
	"layer:integrity-journal":     "dm-integrity may hold the latest writes in its journal only",
	"layer:integrity-superblock":  "dmcopy could not read the superblock of dm-integrity, or it does not fit the table",
	"layer:integrity-write":       "dm-integrity has to write tags for the data",
	"layer:log-writes-begin":      "the line of the log-writes target does not start at sector 0 of its device",
	"layer:log-writes-write":      "the log-writes target has to log what is written",
	"layer:mirror-log":            "a daemon keeps the log of the mirror",
	"layer:mirror-no-leg":         "no leg of the mirror is known to be in sync",
	"layer:mirror-status":         "the mirror reports a state that dmcopy does not know",
	"layer:multipath-begin":       "the line of the multipath target does not start at sector 0 of its device",
	"layer:multipath-no-path":     "no path of the multipath device works",
	"layer:multipath-status":      "the multipath device reports a state that dmcopy does not know",
	"layer:raid-begin":            "the line of the array does not start at sector 0 of its device",
	"layer:raid-far":              "the array has far copies: only the superblock of a member says how far, and it was not read or does not fit",
	"layer:raid-first-member":     "the first member of the array is missing: only that says where the data begins",
	"layer:raid-journal":          "the journal of the array may hold data that its members lack",
	"layer:raid-reshape":          "the array is being reshaped, or was: members are added, removed or moved",
	"layer:raid-status":           "the array reports a state that dmcopy does not know",
	"layer:raid-syncing":          "the array is being synchronised or checked",
	"layer:raid-tail":             "the kernel maps nothing behind the last whole chunk of the array",
	"layer:snapshot-merge":        "the snapshot is being merged into its origin",
	"layer:snapshot-origin-begin": "the line of the snapshot origin does not start at sector 0 of its device",
	"layer:snapshot-origin-write": "the kernel has to save for the snapshots of this origin what is overwritten",
	"layer:unstriped-begin":       "the line of the unstriped target does not start at sector 0, and kernels map that differently",
	"layer:verity":                "dm-verity has to check the data; --trust-verity leaves the check out",
	"layer:verity-corrupted":      "dm-verity has found blocks with wrong hashes",
	"layer:verity-fec":            "dm-verity may have to correct the data",
	"layer:verity-status":         "dm-verity reports a state that dmcopy does not know",
	"layer:verity-write":          "dm-verity is read-only",
	"layer:verity-zero-blocks":    "dm-verity reads some blocks as zeroes, whatever the disk holds",
	"layer:writecache-dirty":      "the writecache holds data that is not on its origin yet",
	"layer:writecache-failed":     "the writecache has failed",
	"layer:writecache-status":     "the writecache reports a state that dmcopy does not know",
	"layer:writecache-write":      "the writecache would not notice what is written below it",
	"layer:unread":                "the kernel does not say what this device is, or contradicts itself: dmcopy tree has a note on it",
	"layer:unread-below":          "the kernel does not say what this device is made of: dmcopy tree has a note on it",
	"layer:file":                  "one end is a regular file, the other one a device that is not stored in a file",
	"layer:impossible-map":        "a layer named a place that cannot exist",
	"layer:no-readable-leg":       "dmcopy can read no leg of the mirror below it",
	"layer:redundant-destination": "only the kernel may write to mirrors and parity, to keep them consistent",
	"layer:replica-legs":          "a leg of the mirror is not plain data all the way down to a disk",
	"layer:md":                    "dmcopy could not read what the md array is made of",
	"layer:md-bitmap":             "the bitmap of the array allows its copies to differ, or is not known",
	"layer:md-broken":             "the array is broken: too many members have failed",
	"layer:md-clustered":          "several nodes of a cluster share the array",
	"layer:md-container":          "the array is a container of other arrays, and holds no data itself",
	"layer:md-external":           "a process keeps the metadata of the array: the kernel has to tell it about writes",
	"layer:md-gap":                "this is beyond the end of the array",
	"layer:md-geometry":           "what the kernel says about the array does not fit together",
	"layer:md-inactive":           "the array is not running",
	"layer:md-journal":            "the journal of the array may hold the latest data",
	"layer:md-layout":             "the layout of the array is not known, or does not say where the data is",
	"layer:md-readonly":           "the array is read-only",
	"layer:md-reshape":            "the array is being reshaped, or is about to be",
	"layer:md-suspended":          "the array is suspended",
	"layer:md-unsynced":           "the copies in the array are not in sync here",
	"layer:dm-unsynced":           "the copies in the array are not in sync here",
	"layer:loop":                  "a loop device, which stores its data in a file",
	"layer:loop-crypt":            "a loop device whose data the loop driver encrypts",
	"layer:bcache":                "the cache of the bcache device may hold a part of the data",
	"layer:bcache-detaching":      "the bcache device is attaching or detaching its cache",
	"layer:bcache-dirty":          "a part of the data is in the cache of the bcache device only",
	"layer:bcache-errors":         "I/O to the backing device of bcache has failed: it may lack data that the cache holds",
	"layer:bcache-flash":          "the bcache volume is in the cache alone",
	"layer:bcache-inconsistent":   "the bcache device runs without the cache that holds a part of its data",
	"layer:bcache-stopped":        "the bcache device is stopped, or its I/O is disabled",
	"layer:bcache-superblock":     "the superblock of the backing device does not belong to this bcache device",
	"layer:bcache-unread":         "dmcopy could not read the superblock of the backing device of bcache, which says where the data begins",
	"layer:bcache-write":          "the cache of the bcache device would hide what is written below it",
	"layer:bcache-writeback":      "the bcache device writes back later: its cache may hold the latest data",
	"layer:drbd":                  "drbd: other machines have to get every write, too",

	"domain:no-method":                "dmcopy knows no copy command for this kind of disk",
	"domain:no-copy-command":          "the disk has no copy command",
	"domain:not-captured":             "the snapshot does not say whether the disk can copy",
	"domain:different-devices":        "source and destination are on different kinds of disks",
	"domain:different-subsystem":      "source and destination are in different NVMe subsystems",
	"domain:cross-namespace":          "source and destination are in different NVMe namespaces",
	"domain:cross-namespace-disabled": "copies between NVMe namespaces are not enabled: see --enable-cross-namespace, which newer kernels refuse",
	"domain:zoned":                    "zones are on one side only, on different disks, or on a disk that is not an NVMe namespace",
	"domain:permission":               "this process may not send commands to the disk: run as root",
	"domain:probe-failed":             "dmcopy could not identify the disk",
	"domain:proof-failed":             "the first copy of the disk was read back and was wrong: dmcopy does not use this pair of disks any more",
	"domain:unproven":                 "dmcopy could not verify that the disk copies what it reports",
	"domain:identity-changed":         "the disk is not the one that the plan was made for",
	"domain:command-set":              "the namespace has another command set, such as key-value",
	"domain:command-set-unknown":      "the command set of the namespace is not known",
	"domain:format-2-unsupported":     "the controller lacks descriptor format 2 of the Copy command, which reaches other namespaces",
	"domain:namespace-not-reachable":  "the controller that writes to the destination does not reach the source",
	"domain:format-0-unsupported":     "the controller lacks descriptor format 0 of the Copy command",
	"domain:metadata":                 "the blocks of the disk have metadata",
	"domain:protection":               "the namespace has protection information, which the kernel checks and a Copy command would not",
	"domain:write-protected":          "the namespace is write-protected",

	"domain:different-file-systems": "the files are on different file systems",
	"domain:file-system":            "the file system has no way to copy by itself that dmcopy knows",
	"domain:file-unreachable":       "the file of the loop device was deleted, or cannot be reached from here",

	"domain:block-size":              "source and destination have blocks of different sizes",
	"domain:descriptors":             "the disk does not know the EXTENDED COPY descriptors that dmcopy sends",
	"domain:different-target":        "nothing proves that both disks belong to one target",
	"domain:duplicate-designator":    "several disks have the same name",
	"domain:no-designator":           "the disk has no name that a copy command could use",
	"domain:no-operating-parameters": "the disk does not report the limits of its copy commands",
	"domain:not-a-disk":              "the device is not a disk",
	"domain:not-distinct":            "dmcopy cannot tell the two disks apart",
	"domain:one-unit-only":           "the disk copies within one logical unit only",

	"limit:alignment": "source and destination are not aligned alike to the blocks of the disk or file system",
	"limit:zero":      "the namespace reports a limit of zero for Copy",

	"limit:granularity": "the piece does not fit the units in which the disk copies",

	"layout:drifted":     "the source moved this data while it was copied: somebody wrote to the origin of the snapshot",
	"zone:unwritten":     "this is above the write pointer of a source zone",
	"zone:order":         "the host wrote the beginning of the zone, so it writes the rest, too",
	"zone:write-pointer": "the write pointer of the zone is at another place",
	"zone:unknown":       "the disk does not report its zones",

	"hold:unavailable": "dmcopy has no means to lock the layout of the destination",
	"hold:shared":      "lvmlockd runs: other machines may change the volume group; use --hold=trust if the volume is active here only",
	"hold:slow":        "the destination is so slow that a change of its layout would have to wait for too long",
	"hold:contended":   "somebody was changing the layout of the destination",
	"hold:expired":     "dmcopy was stopped, or had to wait for a processor: its lock on the layout was about to end",
	"hold:lost":        "the lock on the layout ended too early; the host copied the bytes again",
	"layout:changed":   "the layout changed during the copy; the host copied the bytes again",

	"policy:never": "you asked for that with --offload=never",
	"source:zero":  "the source reads as zeroes here",
	"source:hole":  "the source file has a hole here",
	"state:done":   "an earlier run copied this, as the state file says",

	"file:not-supported": "the file system cannot share or copy these blocks",
	"file:cross-device":  "the file system says that the files are on different file systems",
	"file:refused":       "the file system cannot share blocks of these two files (checksums, swap, block sizes)",
	"file:in-use":        "one of the files is in use as swap space or as a program",
	"file:denied":        "the file system does not allow it",
	"file:no-space":      "the file system has no room for the metadata of shared blocks",
	"file:short":         "the file system copied nothing, but reported success",
	"file:size":          "a file became shorter during the copy",
	"file:wrong-count":   "the file system reported more bytes than it was asked to copy",
	"file:unknown":       "the file system failed without an error number",

	"device:changed":          "the disk has changed: it describes itself differently",
	"device:identify":         "the disk did not answer when dmcopy asked what it is",
	"device:list-id":          "too many commands are in flight to number another one",
	"device:short-transfer":   "the disk did not accept the whole command",
	"device:timeout":          "the disk did not answer in time",
	"device:no-answer":        "the disk did not answer",
	"device:untold":           "the disk did not report what it has copied",
	"device:terminated":       "the copy was aborted before the disk had completed it",
	"device:operation-failed": "the disk started to copy and failed",
	"device:not-issued":       "dmcopy could not send the command",
	"device:status-0x002":     "the disk refused the command (Invalid Field)",
	"device:status-0x00b":     "the disk refused the command (Invalid Namespace or Format)",
	"device:status-0x185":     "the disk cannot copy between these two namespaces (Incompatible Namespace or Format)",
	"device:status-0x188":     "the disk cannot reach the other namespace (Namespace Not Reachable)",
	"device:status-0x183":     "the disk refused the command (Command Size Limit Exceeded)",
	"device:status-0x281":     "the disk could not read the source (Unrecovered Read Error)",
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
	{"-unparsed", "the kernel describes this layer in a way that dmcopy does not understand"},
	{"-gap", "this is beyond the end of the layer"},
	{"-missing-member", "dmcopy cannot read the member of the array that holds this"},
	{"-degraded", "a member of the array is missing: the kernel has to record what it lacks"},
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
