package bcache

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// Device is what sysfs says of a bcache device.
type Device struct {
	Dev  remap.Dev `json:"dev"`
	Name string    `json:"name"` // "bcache0"
	// Size is the capacity in sectors.
	Size remap.Sector `json:"size"`
	// Attrs are files of its directory bcache, as they are. Volumes that live
	// in a cache alone have none of them.
	Attrs map[string]string `json:"attrs,omitempty"`
	// Attached tells that there is a cache.
	Attached bool `json:"attached,omitempty"`
	// Backing is the backing device; nil for volumes that live in a cache.
	Backing *Backing `json:"backing,omitempty"`
	// Lower are all devices that it is made of, the cache included.
	Lower []remap.Dev `json:"lower,omitempty"`
	// Super is the superblock of the backing device; nil if it was not read.
	Super *Super `json:"super,omitempty"`
}

// Backing is a backing device.
type Backing struct {
	Dev  remap.Dev    `json:"dev"`
	Name string       `json:"name"`
	Size remap.Sector `json:"size"`
}

// Files that are read, all of which every cached device has.
const (
	attrState      = "state"
	attrMode       = "cache_mode"
	attrDirty      = "dirty_data"
	attrRunning    = "running"
	attrDisabled   = "io_disable"
	attrErrors     = "io_errors"
	attrBackName   = "backing_dev_name"
	attrBackUUID   = "backing_dev_uuid"
	maxAttr        = 4096 // bytes of one file of sysfs
	maxLower       = 64
	maxNameBytes   = 64
	maxStoredAttrs = 8
)

var attrs = []string{attrState, attrMode, attrDirty, attrRunning, attrDisabled, attrErrors, attrBackName, attrBackUUID}

// Check finds what no kernel can have described.
func (d *Device) Check() error {
	bad := func(format string, args ...any) error { return sysfs.Fail(d.Name, errBadDevice, format, args...) }
	switch {
	case d.Name == "" || len(d.Name) > maxNameBytes:
		return bad("name of %d bytes", len(d.Name))
	case d.Size < 0 || d.Size > remap.MaxSectors:
		return bad("%d sectors", d.Size)
	case len(d.Lower) > maxLower || len(d.Attrs) > maxStoredAttrs:
		return bad("made of %d devices, described in %d files", len(d.Lower), len(d.Attrs))
	case d.Super != nil && (d.Super.Offset < minOffset || d.Super.Offset > remap.MaxSectors):
		return bad("data begins at sector %d", d.Super.Offset)
	}
	for name, text := range d.Attrs {
		if !slices.Contains(attrs, name) || len(text) > maxAttr {
			return bad("file %q of %d bytes", name, len(text))
		}
	}
	if b := d.Backing; b != nil {
		switch {
		case b.Size < 0 || b.Size > remap.MaxSectors, b.Name == "" || len(b.Name) > maxNameBytes:
			return bad("backing device %q of %d sectors", b.Name, b.Size)
		case b.Dev == d.Dev || !slices.Contains(d.Lower, b.Dev):
			return bad("backing device %s is not among %v", b.Dev, d.Lower)
		}
	}
	return nil
}

// Below lists all devices that it is made of.
func (d *Device) Below() []remap.Dev { return d.Lower }

// Wanted is the device whose superblock tells where the data begins; false if
// the data is not read below for another reason.
func (d *Device) Wanted() (dev remap.Dev, ok bool) {
	if _, reason, _ := d.state(); reason != "" {
		return remap.Dev{}, false
	}
	return d.Backing.Dev, true
}

// Transition says what is going on with the layout; "" for nothing.
func (d *Device) Transition() string {
	if _, reason, _ := d.state(); reason == reasonDetaching {
		return "attaching or detaching its cache"
	}
	return ""
}

// Print is a digest of everything that the map depends on. How much is dirty is
// left out, and whether anything is at the moment: a device in mode writeback
// is opaque either way. So is the superblock: the kernel reads it once.
func (d *Device) Print() remap.Fingerprint {
	class, reason, _ := d.state()
	if reason == reasonDirty || reason == reasonWriteback {
		reason = "cached"
	}
	backing := Backing{}
	if d.Backing != nil {
		backing = *d.Backing
	}
	return sha256.Sum256(fmt.Appendf(nil, "%s %q %d %d %q %+v %q %t", d.Dev, d.Name, d.Size, class, reason, backing, d.Attrs[attrBackUUID], d.Attached))
}
