package nvme

import "github.com/dmcopy/dmcopy/copydomain/blocks"

// Why one namespace cannot be copied to another, although each can copy within
// itself.
const (
	reasonFormat2      = "domain:format-2-unsupported"
	reasonBlockSize    = "domain:block-size"
	reasonSubsystem    = "domain:different-subsystem"
	reasonSameNSID     = "domain:cross-namespace"
	reasonNotReachable = "domain:namespace-not-reachable"
)

// CrossNamespaceSupport says, by what Identify told of both, whether a command with descriptor
// format 2 can copy from src to dst. Whether the host has enabled that format on the
// controllers is another question ([ReadBehavior]), and so is which controllers lead
// to both.
//
// Format 2 wants the same block size and the same metadata on both sides (NVM
// Command Set Specification, Copy command); neither side has any here.
func CrossNamespaceSupport(src, dst *Device) blocks.Support {
	switch a, b := src.Namespace, dst.Namespace; {
	case src.Controller.SubNQN != dst.Controller.SubNQN || src.Controller.SubNQN == "":
		return blocks.Unsupported(reasonSubsystem, "the subsystems are %q and %q", src.Controller.SubNQN, dst.Controller.SubNQN)
	case src.NSID == dst.NSID:
		return blocks.Unsupported(reasonSameNSID, "both have the namespace ID %d: they are one, or private to different controllers", src.NSID)
	case a.identified() && a.NGUID == b.NGUID && a.EUI64 == b.EUI64:
		return blocks.Unsupported(reasonSameNSID, "both namespaces name themselves %x%x", a.NGUID, a.EUI64)
	case !src.Controller.CopyFormats.Has(Format2) || !dst.Controller.CopyFormats.Has(Format2):
		return blocks.Unsupported(reasonFormat2, "the controller does not know descriptor format 2 (OCFS %#04x)", uint16(dst.Controller.CopyFormats))
	case src.zoned() || dst.zoned():
		return blocks.Unsupported("domain:zoned", "one of them is zoned")
	case a.BlockSize != b.BlockSize:
		return blocks.Unsupported(reasonBlockSize, "the blocks have %d and %d bytes", a.BlockSize, b.BlockSize)
	case !a.Limits.Min(b.Limits).Valid():
		return blocks.Unsupported("limit:zero", "a namespace reports a limit of zero (%v; %v)", a.Limits, b.Limits)
	}
	return blocks.Support{Able: blocks.Yes}
}

// identified: the namespace has a durable name.
func (n Namespace) identified() bool { return n.NGUID != [16]byte{} || n.EUI64 != [8]byte{} }
