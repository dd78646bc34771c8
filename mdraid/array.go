package mdraid

import (
	"maps"
	"slices"
	"strings"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// Array is what sysfs says of an md array.
type Array struct {
	Dev remap.Dev `json:"dev"`
	// Name is the kernel's name, "md127".
	Name string `json:"name"`
	// Size is the capacity in sectors, 0 for an array that does not run.
	Size remap.Sector `json:"size"`
	// Attrs are files of the directory md of the array, by name.
	Attrs map[string]string `json:"attrs"`
	// Members are all devices of the array, spares included, by name.
	Members []Member `json:"members"`
}

// Member is what sysfs says of a member of an array.
type Member struct {
	// Name is the kernel's name of the device, "sda1".
	Name string `json:"name"`
	// Dev is zero if the device has been unplugged.
	Dev remap.Dev `json:"dev"`
	// Attrs are files of the directory dev-NAME, by name.
	Attrs map[string]string `json:"attrs"`
}

// attribute is a file that is read.
type attribute struct {
	name string
	// optional: not every level or kernel has it.
	optional bool
}

// Files of an array that tell when the others can be trusted: they are read
// first and last.
var pivots = []attribute{
	{"array_state", false}, {"reshape_position", false}, {"layout", false}, {"sync_action", true},
}

// arrayAttrs are the other files of an array.
var arrayAttrs = []attribute{
	{"level", false}, {"chunk_size", false}, {"raid_disks", false}, {"component_size", false}, {"array_size", false},
	{"metadata_version", false}, {"resync_start", false},
	{"uuid", true}, {"degraded", true}, {"suspend_lo", true}, {"suspend_hi", true}, {"consistency_policy", true},
	{"journal_mode", true}, {"bitmap_type", true}, {"bitmap/location", true}, {"bitmap/metadata", true},
}

// memberAttrs are the files of a member.
var memberAttrs = []attribute{
	{"state", false}, {"slot", false}, {"offset", false}, {"new_offset", false}, {"size", false},
	{"recovery_start", false}, {"bad_blocks", false}, {"unacknowledged_bad_blocks", false},
}

// Level is the name of the level, "raid5", or what else the file says.
func (a *Array) Level() string { return a.Attrs["level"] }

// UUID is the identity of the array, "" if the kernel does not tell.
func (a *Array) UUID() string { return a.Attrs["uuid"] }

// Below lists each device of the array once.
func (a *Array) Below() []remap.Dev {
	var devs []remap.Dev
	for i := range a.Members {
		if dev := a.Members[i].Dev; !dev.IsZero() && !slices.Contains(devs, dev) {
			devs = append(devs, dev)
		}
	}
	return devs
}

// Limits of what is stored: sysfs has pages of 4 to 64 KiB.
const (
	maxAttr    = 64 << 10
	maxMembers = 4096
)

// Check tells whether a stored array is one that a kernel can have described,
// in form; what it says is judged by Layer.
func (a *Array) Check() error {
	if !validName(a.Name) || a.Size < 0 || a.Size > remap.MaxSectors || len(a.Members) > maxMembers {
		return sysfs.Fail(a.Dev.String(), ErrBadArray, "%q of %d sectors with %d members", a.Name, a.Size, len(a.Members))
	}
	if err := checkAttrs(a.Name, a.Attrs, pivots, arrayAttrs); err != nil {
		return err
	}
	for i := range a.Members {
		m := &a.Members[i]
		if !validName(m.Name) || i > 0 && m.Name <= a.Members[i-1].Name {
			return sysfs.Fail(a.Name, ErrBadArray, "member %q", m.Name)
		}
		if err := checkAttrs(a.Name+"/"+m.Name, m.Attrs, memberAttrs); err != nil {
			return err
		}
	}
	return nil
}

// checkAttrs demands that all files are there and none that are not read.
func checkAttrs(subject string, attrs map[string]string, lists ...[]attribute) error {
	known := make(map[string]bool)
	for _, attr := range slices.Concat(lists...) {
		known[attr.name] = true
		if _, found := attrs[attr.name]; !found && !attr.optional {
			return sysfs.Fail(subject, ErrBadArray, "no %s", attr.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		if !known[name] || len(attrs[name]) > maxAttr || !printable(attrs[name]) {
			return sysfs.Fail(subject, ErrBadArray, "file %q", name)
		}
	}
	return nil
}

// validName tells whether a name can be that of a block device in sysfs.
func validName(name string) bool {
	return name != "" && len(name) < 64 && name != "." && name != ".." && !strings.ContainsAny(name, "/ \n") && printable(name)
}

// printable tells whether a text is what sysfs files hold: ASCII, in lines.
func printable(s string) bool {
	for i := range len(s) {
		if (s[i] < ' ' || s[i] > '~') && s[i] != '\n' {
			return false
		}
	}
	return true
}
