package mdraid

import (
	"errors"
	"slices"
	"strings"

	"github.com/dmcopy/dmcopy/internal/raidmap"
	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// Reasons for arrays that are not mapped. An unknown level has its own:
// "layer:md-multipath". Reasons for parts of an array are those of raidmap.
const (
	ReasonInactive  remap.Reason = "layer:md-inactive"
	ReasonContainer remap.Reason = "layer:md-container"
	ReasonBroken    remap.Reason = "layer:md-broken"
	ReasonSuspended remap.Reason = "layer:md-suspended"
	ReasonReshape   remap.Reason = "layer:md-reshape"
	ReasonClustered remap.Reason = "layer:md-clustered"
	// ReasonJournal: the newest data is in the journal, or may be.
	ReasonJournal remap.Reason = "layer:md-journal"
	// ReasonBitmap: a bitmap that lets copies differ where nothing was written
	// yet, or one that is not known.
	ReasonBitmap remap.Reason = "layer:md-bitmap"
	// ReasonUnparsed: a file does not hold what is known of it.
	ReasonUnparsed remap.Reason = "layer:md-unparsed"
	// ReasonLayout: the layout is unknown, or does not tell where the data is.
	ReasonLayout remap.Reason = "layer:md-layout"
	// ReasonGeometry: what the files say does not fit together.
	ReasonGeometry remap.Reason = "layer:md-geometry"
	// ReasonExternal and ReasonReadOnly: nothing is written below the array,
	// because a process keeps its state, or because it must not be written.
	ReasonExternal remap.Reason = "layer:md-external"
	ReasonReadOnly remap.Reason = "layer:md-readonly"
)

// Layer maps the array.
func (a *Array) Layer() remap.Layer {
	layer, reason, _ := a.mapped()
	if reason != "" {
		return remap.OpaqueLayer{Layer: a.layerName(), Reason: reason, Lower: a.Below()}
	}
	return layer
}

// mapped makes the map, or says why there is none, in a slug and for people.
func (a *Array) mapped() (layer *raidmap.Array, reason remap.Reason, why string) {
	if reason, why = a.unfit(); reason != "" {
		return nil, reason, why
	}
	f, bad := a.parse()
	if bad != "" {
		return nil, ReasonUnparsed, bad + " is not understood"
	}
	g, err := levels[f.level](&f)
	if err == nil {
		err = a.checkSize(&f, g)
	}
	if err == nil {
		layer, err = a.assemble(&f, g)
	}
	switch {
	case errors.Is(err, raidmap.ErrLayout), errors.Is(err, raidmap.ErrAmbiguous):
		return nil, ReasonLayout, err.Error()
	case err != nil:
		return nil, ReasonGeometry, err.Error()
	}
	return layer, "", ""
}

// unfit tells why an array is opaque whatever its geometry.
func (a *Array) unfit() (reason remap.Reason, why string) {
	state := a.Attrs["array_state"]
	switch {
	case states[state] == stopped && a.isContainer():
		return ReasonContainer, "a container of arrays, which holds no data itself"
	case states[state] == stopped:
		return ReasonInactive, "inactive"
	case state == "broken":
		return ReasonBroken, "broken: too many members have failed"
	case state == "suspended":
		return ReasonSuspended, "suspended"
	case states[state] == unknownState:
		return ReasonUnparsed, "array_state is not understood"
	case a.reshaping():
		return ReasonReshape, "a reshape is under way or prepared"
	case a.Attrs["bitmap/metadata"] == "clustered":
		return ReasonClustered, "shared by the nodes of a cluster"
	case levels[a.Level()] == nil:
		return a.unknownLevel()
	case a.journaled():
		return ReasonJournal, "the newest data may be in the journal only"
	case !a.bitmapKnown():
		return ReasonBitmap, "copies may differ where nothing was written yet"
	}
	return "", ""
}

// isContainer tells whether the array has metadata of its own for other arrays:
// "external:imsm". Those say "external:/md127/0", or
// "external:-md127/0" while nobody may change them.
func (a *Array) isContainer() bool {
	format, external := strings.CutPrefix(a.Attrs["metadata_version"], "external:")
	return external && !strings.HasPrefix(format, "/") && !strings.HasPrefix(format, "-")
}

func (a *Array) unknownLevel() (remap.Reason, string) {
	if !isWord(a.Level()) {
		return ReasonUnparsed, "level is not understood"
	}
	return remap.Reason("layer:md-" + a.Level()), "level " + a.Level() + " is not mapped"
}

// isWord tells whether a text can be part of a reason.
func isWord(s string) bool {
	strange := func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' }
	return s != "" && len(s) <= 16 && !strings.ContainsFunc(s, strange)
}

// journaled tells whether data may be in a journal and not yet where it belongs
// (drivers/md/raid5-cache.c). With write-through it is in both places before a
// write is done; a partial parity log (ppl) holds no data.
func (a *Array) journaled() bool {
	switch a.Attrs["consistency_policy"] {
	case "journal":
		return a.Attrs["journal_mode"] != "[write-through] write-back"
	case "", "none", "resync", "bitmap", "ppl":
		return slices.ContainsFunc(a.Members, func(m Member) bool {
			return slices.Contains(strings.Split(m.Attrs["state"], ","), "journal")
		})
	}
	return true
}

// bitmapKnown tells whether what is not marked in the bitmap is in sync. With a
// lockless bitmap it need not be before the first write (drivers/md/md-llbitmap.c);
// data that is in one place only is right all the same.
func (a *Array) bitmapKnown() bool {
	p := parser{attrs: a.Attrs}
	switch kind := p.choice("bitmap_type"); {
	case p.bad != "":
		return false
	case kind == "llbitmap":
		return !mirrors(a.Level())
	default:
		return kind == "" || kind == "none" || kind == "bitmap"
	}
}

// checkSize compares the capacity of the array with that of its geometry. They
// are equal unless the capacity was set (drivers/md/md.c, array_size_store).
func (a *Array) checkSize(f *facts, g raidmap.Geometry) error {
	if a.Size > g.Size() || a.Size < g.Size() && !f.resized || f.resized && f.level == "linear" {
		return sysfs.Fail(a.Name, ErrBadArray, "%d sectors, the geometry has %d", a.Size, g.Size())
	}
	return nil
}

// assemble puts the members into the geometry.
func (a *Array) assemble(f *facts, g raidmap.Geometry) (*raidmap.Array, error) {
	c := raidmap.Config{Layer: a.layerName(), Geometry: g, Others: a.Below(), Synced: f.synced}
	used := make(map[remap.Dev]bool)
	for i, s := range f.slots {
		m := s.config()
		for _, dev := range []remap.Dev{m.Dev, m.Replacement} {
			if used[dev] && !dev.IsZero() {
				return nil, sysfs.Fail(a.Name, ErrBadArray, "%s is in two slots", dev)
			}
			used[dev] = true
		}
		if s.replacement.present() && s.replacement.size < g.Reach(i) {
			return nil, sysfs.Fail(a.Name, ErrBadArray, "%s is smaller than what it replaces", s.replacement.dev)
		}
		c.Members = append(c.Members, m)
	}
	switch {
	case f.external:
		c.Sealed = ReasonExternal
	case f.state == readOnly:
		c.Sealed = ReasonReadOnly
	}
	return raidmap.New(c)
}

// layerName is the name of the layer, "md:raid5"; see [remap.Place].
func (a *Array) layerName() string {
	if isWord(a.Level()) {
		return "md:" + a.Level()
	}
	return "md"
}
