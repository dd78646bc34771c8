package mdraid

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// Print is a digest of everything that the map depends on. Whatever moves while
// an array is in use is left out, or taken as the class that matters: clean and
// active are one state, how far a recovery has come is nothing.
func (a *Array) Print() (print remap.Fingerprint) {
	h := sha256.New()
	put := func(values ...string) { // each with its length, so that no two lists look alike
		for _, v := range values {
			fmt.Fprintf(h, "%d:%s", len(v), v)
		}
	}
	put(a.Dev.String(), a.Name, fmt.Sprint(a.Size))
	for _, attr := range slices.Concat(pivots, arrayAttrs) {
		put(attr.name, normal(a.Level(), attr.name, a.Attrs[attr.name]))
	}
	for i := range a.Members {
		m := &a.Members[i]
		put(m.Name, m.Dev.String())
		for _, attr := range memberAttrs {
			if attr.name != "recovery_start" {
				put(attr.name, m.Attrs[attr.name])
			}
		}
	}
	h.Sum(print[:0])
	return print
}

// normal is what counts of the value of a file of an array of some level.
func normal(level, name, value string) string {
	switch name {
	case "array_state":
		if states[value] == running {
			return "running"
		}
	case "sync_action":
		if actions[value] == harmless || actions[value] == resyncing && !mirrors(level) {
			return "harmless"
		}
	case "reshape_position":
		if value != "none" {
			return "moving"
		}
	case "resync_start":
		if !mirrors(level) {
			return ""
		}
	case "degraded", "suspend_lo", "suspend_hi", "bitmap/location":
		return ""
	}
	return value
}

// mirrors tells whether what is not in sync matters to a reader. It does not
// where there is one copy, and parity, which is not read.
func mirrors(level string) bool {
	return level != "linear" && !slices.Contains([]string{"raid0", "raid4", "raid5", "raid6"}, level)
}

// Transition says how the layout is about to change; it is empty for an array
// at rest. A recovery or resync is no change of layout, and a reshape, which may
// take days, is nothing to wait for: the array is opaque meanwhile.
func (a *Array) Transition() string {
	switch {
	case a.reshaping():
		return ""
	case a.Attrs["array_state"] == "suspended":
		return "suspended"
	}
	if lo, hi, ok := a.suspendedWrites(); !ok || hi > lo {
		return "writes suspended"
	}
	return ""
}

// reshaping tells whether the array is between two geometries.
func (a *Array) reshaping() bool {
	if a.Attrs["reshape_position"] != "none" || a.Attrs["sync_action"] == "reshape" {
		return true
	}
	for _, name := range []string{"layout", "chunk_size", "raid_disks"} {
		if strings.Contains(a.Attrs[name], "(") { // "new (old)"
			return true
		}
	}
	for i := range a.Members {
		if a.Members[i].Attrs["offset"] != a.Members[i].Attrs["new_offset"] {
			return true
		}
	}
	return false
}

// suspendedWrites is the range of the array that may not be written, as mdadm
// sets it during a reshape.
func (a *Array) suspendedWrites() (lo, hi remap.Sector, ok bool) {
	p := parser{attrs: a.Attrs}
	if _, found := a.Attrs["suspend_hi"]; !found {
		return 0, 0, true
	}
	lo, hi = p.sector("suspend_lo"), p.sector("suspend_hi")
	return lo, hi, p.bad == ""
}
