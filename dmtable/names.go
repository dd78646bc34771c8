package dmtable

import (
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// managers are the owners of mapped devices by the prefix of their uuid. The
// prefix tells whom to ask for a lock, never what the device maps.
var managers = map[string]string{
	"LVM": "lvm", "CRYPT": "crypt", "mpath": "mpath", "DMRAID": "dmraid", "stratis": "stratis", "VDO": "vdo",
}

// Owner tells who manages the device, by its uuid.
func (i *Info) Owner() remap.Owner {
	prefix, _, dashed := strings.Cut(i.UUID, "-")
	if !dashed {
		return remap.Owner{}
	}
	owner := remap.Owner{Manager: managers[prefix]}
	switch {
	case owner.Manager == "lvm":
		if name, ok := ParseLVMName(i.Name); ok {
			owner.Group = name.VG
		}
	case isPartition(prefix):
		owner.Manager = "part"
	}
	return owner
}

// isPartition tells whether a uuid prefix is one of kpartx: "part1".
func isPartition(prefix string) bool {
	number, ok := strings.CutPrefix(prefix, "part")
	return ok && isNumber([]byte(number))
}

// Label is the name for people: "vg/lv" for a logical volume, else the name.
// The hidden parts of volumes have a suffix behind the two ids of 32 letters
// in their uuid and keep the name of device-mapper.
func (i *Info) Label() string {
	const lvUUID = len("LVM-") + 2*32
	if strings.HasPrefix(i.UUID, "LVM-") && len(i.UUID) == lvUUID {
		if name, ok := ParseLVMName(i.Name); ok && name.Layer == "" {
			return name.VG + "/" + name.LV
		}
	}
	return i.Name
}

// LVMName is a name of device-mapper, split the way LVM builds it
// (libdm/libdm-string.c, dm_build_dm_name): parts joined by "-", with each "-"
// inside of a part doubled.
type LVMName struct {
	VG, LV, Layer string
}

// ParseLVMName splits a name. It reports false for names that LVM does not
// build.
func ParseLVMName(name string) (LVMName, bool) {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(name); i++ {
		switch {
		case name[i] != '-':
			part.WriteByte(name[i])
		case i+1 < len(name) && name[i+1] == '-':
			part.WriteByte('-')
			i++
		default:
			parts = append(parts, part.String())
			part.Reset()
		}
	}
	parts = append(parts, part.String())
	for _, part := range parts {
		if part == "" {
			return LVMName{}, false
		}
	}
	switch len(parts) {
	case 2:
		return LVMName{VG: parts[0], LV: parts[1]}, true
	case 3:
		return LVMName{VG: parts[0], LV: parts[1], Layer: parts[2]}, true
	}
	return LVMName{}, false
}

// String builds the name that device-mapper uses.
func (n LVMName) String() string {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	name := double(n.VG) + "-" + double(n.LV)
	if n.Layer != "" {
		name += "-" + double(n.Layer)
	}
	return name
}
