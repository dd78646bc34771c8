package bcache

import (
	"regexp"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// Reasons for what is not read or written below.
const (
	// reasonFlash: a volume that lives in a cache alone.
	reasonFlash remap.Reason = "layer:bcache-flash"
	// reasonUnparsed: a file does not hold what is known of it.
	reasonUnparsed remap.Reason = "layer:bcache-unparsed"
	// reasonStopped: it is not running, or has given up.
	reasonStopped remap.Reason = "layer:bcache-stopped"
	// reasonErrors: the backing device may lack what the cache has, because
	// I/O to it has failed.
	reasonErrors remap.Reason = "layer:bcache-errors"
	// reasonDirty and reasonWriteback: data is in the cache only, or may be at
	// any time.
	reasonDirty     remap.Reason = "layer:bcache-dirty"
	reasonWriteback remap.Reason = "layer:bcache-writeback"
	// reasonInconsistent: it was run without the cache that has its data.
	reasonInconsistent remap.Reason = "layer:bcache-inconsistent"
	// reasonDetaching: state and cache do not fit together, as while a cache
	// comes or goes.
	reasonDetaching remap.Reason = "layer:bcache-detaching"
	// reasonUnread: the superblock was not read.
	reasonUnread remap.Reason = "layer:bcache-unread"
	// reasonSuper: the superblock is not that of the device.
	reasonSuper remap.Reason = "layer:bcache-superblock"
	// reasonWrite: what is written below would be hidden by the cache. There
	// need not be one yet: nothing that we could do keeps one from being
	// attached while a command writes (bch_cached_dev_attach waits for no I/O).
	reasonWrite remap.Reason = "layer:bcache-write"
)

const layerName = "bcache"

// class is what can be done below a device.
type class int

const (
	opaque class = iota
	// readable: the backing device has everything.
	readable
	// bare: there is no cache.
	bare
)

// Layer maps the device.
func (d *Device) Layer() remap.Layer {
	_, reason, _ := d.mapped()
	if reason != "" {
		return remap.OpaqueLayer{Layer: layerName, Reason: reason, Lower: d.Lower}
	}
	return &shifted{dev: d.Backing.Dev, offset: d.Super.Offset, lower: d.Lower}
}

// mapped says what can be done, or why nothing, in a slug and for people.
func (d *Device) mapped() (c class, reason remap.Reason, why string) {
	c, reason, why = d.state()
	switch {
	case reason != "":
	case d.Super == nil:
		reason, why = reasonUnread, "the superblock of "+d.Backing.Name+", which tells where the data begins, was not read"
	case d.Super.UUID != d.Attrs[attrBackUUID]:
		reason, why = reasonSuper, "the superblock of "+d.Backing.Name+" is that of another device"
	case d.Backing.Size-d.Super.Offset != d.Size:
		// The size was computed when the device was made (cached_dev_init).
		reason, why = reasonSuper, "its size is not what the superblock of "+d.Backing.Name+" leaves of that"
	}
	if reason != "" {
		c = opaque
	}
	return c, reason, why
}

// state is mapped, without the superblock.
func (d *Device) state() (c class, reason remap.Reason, why string) {
	if _, cached := d.Attrs[attrState]; !cached || d.Backing == nil {
		return opaque, reasonFlash, "a volume that lives in the cache alone"
	}
	f, bad := d.parse()
	switch {
	case bad != "":
		return opaque, reasonUnparsed, bad + " is not understood"
	case !f.running:
		return opaque, reasonStopped, "it is not running, or I/O to it is disabled"
	case f.errors:
		return opaque, reasonErrors, "I/O to " + d.Backing.Name + " has failed"
	case f.state == "inconsistent":
		return opaque, reasonInconsistent, "it was run without the cache that has a part of its data"
	case f.state == "dirty" || f.dirty:
		return opaque, reasonDirty, "data is in the cache only: set cache_mode to writethrough, and wait until the state is clean"
	case (f.state == "clean") != d.Attached:
		return opaque, reasonDetaching, "its cache is being attached or detached"
	case f.state == "no cache":
		return bare, "", ""
	case f.mode == "writeback":
		return opaque, reasonWriteback, "data may get into the cache only: set cache_mode to writethrough"
	}
	return readable, "", ""
}

// facts are what the files say.
type facts struct {
	state, mode string
	// dirty: something is in the cache only.
	dirty           bool
	running, errors bool
}

var (
	// hprint is what bch_hprint prints (drivers/md/bcache/util.c). It rounds
	// down to tenths of KiB, so a sector is 0.5k.
	hprint = regexp.MustCompile(`^-?[0-9]{1,20}\.[0-9]{1,2}[kMGTPEZY]$`)
	count  = regexp.MustCompile(`^[0-9]{1,10}$`)
	uuid   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// parse understands all files, or names the one that it does not.
func (d *Device) parse() (f facts, bad string) {
	known := func(attr string, ok bool) {
		if !ok && bad == "" {
			bad = attr
		}
	}
	oneOf := func(attr string, words ...string) string {
		for _, word := range words {
			if d.Attrs[attr] == word {
				return word
			}
		}
		known(attr, false)
		return ""
	}
	f.state = oneOf(attrState, "no cache", "clean", "dirty", "inconsistent")
	f.mode = selected(d.Attrs[attrMode])
	known(attrMode, f.mode != "")
	f.dirty = d.Attrs[attrDirty] != "0.0k"
	known(attrDirty, hprint.MatchString(d.Attrs[attrDirty]))
	running, disabled := oneOf(attrRunning, "0", "1"), oneOf(attrDisabled, "0", "1")
	f.running = running == "1" && disabled == "0"
	f.errors = d.Attrs[attrErrors] != "0"
	known(attrErrors, count.MatchString(d.Attrs[attrErrors]))
	// Names have "!" for a slash in sysfs.
	known(attrBackName, d.Attrs[attrBackName] == strings.ReplaceAll(d.Backing.Name, "!", "/"))
	known(attrBackUUID, uuid.MatchString(d.Attrs[attrBackUUID]))
	return f, bad
}

// selected is the mode in brackets, "" if the list is not the one that is known.
func selected(list string) string {
	modes := []string{"writethrough", "writeback", "writearound", "none"}
	for i, mode := range modes {
		words := append([]string{}, modes...)
		words[i] = "[" + mode + "]"
		if list == strings.Join(words, " ") {
			return mode
		}
	}
	return ""
}

// shifted maps a device onto its backing device.
type shifted struct {
	dev    remap.Dev
	offset remap.Sector
	lower  []remap.Dev
}

// Map implements [remap.Layer].
func (l *shifted) Map(op remap.Op, s, n remap.Sector) remap.Place {
	if op == remap.Write {
		return remap.Place{Len: n, Kind: remap.Opaque, Reason: reasonWrite, Layer: layerName}
	}
	return remap.Place{Len: n, Kind: remap.Data, Leg: remap.Leg{Dev: l.dev, Start: l.offset + s, Readable: true}, Layer: layerName}
}

// Below implements [remap.Layer].
func (l *shifted) Below() []remap.Dev { return l.lower }
