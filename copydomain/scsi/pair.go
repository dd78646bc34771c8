package scsi

import (
	"slices"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Span says whether one command can copy from src to dst, which may be the same
// device, and within which limits.
//
// A command names its logical units, so the names must lead to where the caller
// means: two devices that have a name in common are two paths to one unit, or two
// units that were given one name, and nothing tells which. Nor does a copy manager
// reach what belongs to another target.
func Span(src, dst *Device) (Limits, blocks.Support) {
	for _, d := range []*Device{dst, src} {
		if d.Support.Able != blocks.Yes {
			return Limits{}, d.Support
		}
	}
	if src == dst {
		return dst.Limits, blocks.Support{Able: blocks.Yes}
	}
	if why := apart(src, dst); why.Able != blocks.Yes {
		return Limits{}, why
	}
	limits := dst.Limits.Min(src.Limits)
	switch {
	case min(src.Parameters.Descriptors, dst.Parameters.Descriptors) < 2:
		return Limits{}, blocks.Unsupported("domain:one-unit-only", "the target accepts only one logical unit in a command")
	case src.Form != dst.Form:
		return Limits{}, blocks.Unsupported("domain:different-target", "the logical units know different forms of EXTENDED COPY")
	case !limits.Valid():
		return Limits{}, blocks.Unsupported("limit:zero", "no command fits the limits of both (%v)", limits)
	}
	return limits, blocks.Support{Able: blocks.Yes}
}

// SpanTokens is [Span] for token copies. A token goes to the unit that it is shown to,
// whatever that is called; but two units of one name may be one, and a token is good
// for nothing at another target.
func SpanTokens(src, dst *Device) (TokenLimits, blocks.Support) {
	for _, d := range []*Device{dst, src} {
		if d.Tokens.Support.Able != blocks.Yes {
			return TokenLimits{}, d.Tokens.Support
		}
	}
	if src != dst {
		if why := apart(src, dst); why.Able != blocks.Yes {
			return TokenLimits{}, why
		}
	}
	return dst.Tokens.Limits.Min(src.Tokens.Limits), blocks.Support{Able: blocks.Yes}
}

// apart tells why nothing copies from one of two devices to the other, by whatever
// command.
func apart(src, dst *Device) blocks.Support {
	switch common, found := CommonDesignator(src, dst); {
	case found:
		return blocks.Unsupported("domain:duplicate-designator", "both logical units have the identity %v", common)
	case src.Serial != "" && src.Serial == dst.Serial:
		return blocks.Unsupported("domain:not-distinct", "both logical units have serial number %q", src.Serial)
	case !sameTarget(src, dst):
		return blocks.Unsupported("domain:different-target", "nothing proves that the logical units belong to one target")
	case src.Capacity.BlockSize != dst.Capacity.BlockSize:
		return blocks.Unsupported("domain:block-size", "blocks of %d and of %d bytes", src.Capacity.BlockSize, dst.Capacity.BlockSize)
	}
	return blocks.Support{Able: blocks.Yes}
}

// sameTarget: the units name the same target device, or the same port of it. Names
// that are unique in the world count only: ports and groups are numbered from 1 in
// every target.
func sameTarget(a, b *Device) bool {
	for _, association := range []Association{TargetDevice, TargetPort} {
		if _, found := share(worldwide(of(a.Designators, association)), worldwide(of(b.Designators, association))); found {
			return true
		}
	}
	return false
}

func worldwide(all []Designator) []Designator {
	return slices.DeleteFunc(all, func(d Designator) bool {
		return d.Type != TypeNAA && d.Type != TypeEUI && d.Type != TypeName || zero(d.Value)
	})
}

// Target names the target that the unit belongs to, or the unit itself where the
// target has no name of its own.
func (d *Device) Target() string {
	for _, association := range []Association{TargetDevice, TargetPort} {
		if all := worldwide(of(d.Designators, association)); len(all) > 0 {
			return all[0].String()
		}
	}
	return d.Name.String()
}

// Called says whether name, in the spelling of the kernel's wwid attribute, is one
// of the names of the unit.
func (d *Device) Called(name string) bool {
	return slices.ContainsFunc(names(d.Designators), func(x Designator) bool { return x.String() == name })
}

// CommonDesignator finds a name that two units have in common.
func CommonDesignator(a, b *Device) (Designator, bool) {
	return share(names(a.Designators), names(b.Designators))
}
