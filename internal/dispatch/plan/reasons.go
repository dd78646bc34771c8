package plan

import "github.com/dmcopy/dmcopy/remap"

// Reasons that planning gives.
const (
	ReasonPolicyNever remap.Reason = "policy:never"
	ReasonZeroSource  remap.Reason = "source:zero"
	ReasonHole        remap.Reason = "source:hole"
	ReasonAlignment   remap.Reason = "limit:alignment"
	ReasonFile        remap.Reason = "layer:file"
	ReasonLoop        remap.Reason = "layer:loop"
	ReasonRedundant   remap.Reason = "layer:redundant-destination"
	ReasonCipher                   = remap.ReasonCipher
	ReasonNoLeg       remap.Reason = "layer:no-readable-leg"
)

// Why steps that were to be offloaded were not, or had to be done again.
const (
	ReasonHoldUnavailable remap.Reason = "hold:unavailable"
	ReasonHoldContended   remap.Reason = "hold:contended"
	ReasonHoldShared      remap.Reason = "hold:shared"
	ReasonHoldSlow        remap.Reason = "hold:slow"
	ReasonHoldLost        remap.Reason = "hold:lost"
	ReasonLayoutChanged   remap.Reason = "layout:changed"
	ReasonProofFailed     remap.Reason = "domain:proof-failed"
)

// ReasonUnproven: nothing tells whether the pair copies what it says.
const ReasonUnproven remap.Reason = "domain:unproven"

// ReasonZoneOrder: the host has written to the front of the zone, and so writes the
// rest of it.
const ReasonZoneOrder remap.Reason = "zone:order"

// ReasonCopiedOnWrite: while a device copied from below a snapshot, somebody wrote to the
// origin, and the kernel moved the data to the snapshot's own store.
const ReasonCopiedOnWrite remap.Reason = "layout:drifted"

// ReasonHoldExpired: too little was left of the hold to begin a command.
const ReasonHoldExpired remap.Reason = "hold:expired"

// reasonUnmapped: a thin volume has no block there until it is written.
const reasonUnmapped remap.Reason = "layer:thin-unmapped"

// primeBytes is how much of every block is copied ahead of time.
const primeBytes = 4096
