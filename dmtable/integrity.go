package dmtable

import (
	"bytes"
	"strconv"

	"github.com/dmcopy/dmcopy/dmtable/integritysb"
	"github.com/dmcopy/dmcopy/remap"
)

const typeIntegrity = "integrity"

// Integrity is what an integrity line says without its keys
// (drivers/md/dm-integrity.c):
//
//	<dev> <start> <tag bytes> <J|B|D|R|I> <count> [<options>…]
type Integrity struct {
	Dev   remap.Dev    `json:"dev"`
	Start remap.Sector `json:"start"`
	// TagSize is the size of the tag of one block, in bytes.
	TagSize uint16 `json:"tag_size"`
	// Mode is how tags are kept in step with data: J with a journal of both, B
	// with a bitmap, D not at all, I beside each sector; R reads only.
	Mode string `json:"mode"`
	// Meta is the device of the tags, if that is another one. Start is a
	// sector of it, then.
	Meta *remap.Dev `json:"meta_device,omitempty"`
	// BlockSize is what has one tag, in sectors. Interleave and Journal are
	// sectors too, 0 if the line does not tell.
	BlockSize  remap.Sector `json:"block_size"`
	Interleave remap.Sector `json:"interleave,omitempty"`
	Journal    remap.Sector `json:"journal,omitempty"`
	FixPadding bool         `json:"fix_padding,omitempty"`
	// Super is the superblock, if it was read: [Target.IntegritySuper].
	Super *integritysb.Super `json:"super,omitempty"`
}

// IntegritySuper tells where the superblock of an integrity line is, if the map
// depends on it; it goes to Integrity.Super.
func (t *Target) IntegritySuper() (dev remap.Dev, start remap.Sector, ok bool) {
	if t.Integrity == nil || !t.Integrity.interleaved() {
		return remap.Dev{}, 0, false
	}
	return t.Integrity.Dev, t.Integrity.Start, true
}

// interleaved tells whether data alternates with tags.
func (i *Integrity) interleaved() bool {
	return i.Meta == nil && i.Mode != modeInline && i.Mode != modeJournal
}

const (
	modeJournal = "J"
	modeInline  = "I"
)

// parseIntegrity maps a device whose blocks are checked against tags. Below it
// nothing is checked, so only those who say so read there. Data that has
// been written may still be in the journal, if there is one.
func parseIntegrity(t *Target, a *args) mapping {
	i := t.Integrity
	if i == nil {
		a.reject()
		return nil
	}
	a.devs = append(a.devs, i.Dev)
	if i.Meta != nil {
		a.devs = append(a.devs, *i.Meta)
	}
	switch {
	case !a.trust.Integrity:
		return a.closed(t)
	case i.Mode == modeJournal:
		return a.opaque(t, "journal")
	case i.Meta != nil:
		return newSource(t, i.Dev, 0)
	case i.Mode == modeInline:
		return newSource(t, i.Dev, i.Start+integritysb.Sectors)
	case i.Super == nil || !i.agrees(t.Len):
		return a.opaque(t, "superblock")
	}
	s := i.Super
	return &interleaved{
		area: s.Interleave, run: s.Run(),
		first: newSource(t, i.Dev, i.Start+s.Initial()),
	}
}

// interleaved is data in areas of one length, with tags in front of each
// (dm-integrity.c, get_data_sector).
type interleaved struct {
	area, run remap.Sector
	// first is where the tags of the first area begin.
	first *source
}

func (m *interleaved) place(op remap.Op, off, n remap.Sector) remap.Place {
	area, inside := off/m.area, off%m.area
	return m.first.place(op, off+(area+1)*m.run, min(n, m.area-inside))
}

// agrees tells whether the superblock can be the one of the line, and its areas
// have room for a device of so many sectors.
func (i *Integrity) agrees(size remap.Sector) bool {
	s := i.Super
	padded := s.Flags&integritysb.FixedPadding != 0
	return s.TagSize == i.TagSize && s.BlockSize == i.BlockSize && s.Interleave >= s.BlockSize && s.Provided >= size &&
		(i.Interleave == 0 || i.Interleave == s.Interleave) && i.FixPadding == padded &&
		(i.Journal == 0 || i.Journal == s.Initial()-integritysb.Sectors)
}

// valid tells whether parseIntegrityLine can have made i, and a kernel the
// superblock.
func (i *Integrity) valid() bool {
	return i.Start >= 0 && i.Start <= remap.MaxSectors && integrityModes[i.Mode] && validTagBlock(i.BlockSize) &&
		i.Interleave >= 0 && i.Journal >= 0 && (i.Super == nil || validSuper(i.Super))
}

// validSuper keeps superblocks that were stored from dividing by zero.
func validSuper(s *integritysb.Super) bool {
	const most = 1 << 31 // dm-integrity.c, MAX_LOG2_INTERLEAVE_SECTORS
	return validTagBlock(s.BlockSize) && s.Interleave >= 0 && s.Interleave <= most && s.Interleave&(s.Interleave-1) == 0 &&
		s.Provided > 0 && s.Provided <= remap.MaxSectors
}

// validTagBlock: blocks are 512 to 4096 bytes.
func validTagBlock(size remap.Sector) bool { return 1 <= size && size <= 8 && size&(size-1) == 0 }

var integrityModes = map[string]bool{modeJournal: true, "B": true, "D": true, "R": true, modeInline: true}

// parseIntegrityLine reads a line in place. No byte of a key leaves it: the
// options with algorithms are checked and left out. It returns nil for a line
// that is not understood.
func parseIntegrityLine(params []byte) *Integrity {
	words := bytes.Split(params, []byte(" "))
	if len(words) < 5 || !isDev(words[0]) || !isNumber(words[1]) || !isNumber(words[2]) || !integrityModes[string(words[3])] ||
		string(words[4]) != strconv.Itoa(len(words)-5) {
		return nil
	}
	i := &Integrity{Mode: string(words[3]), BlockSize: 1}
	var errs [3]error
	i.Dev, errs[0] = remap.ParseDev(string(words[0]))
	i.Start, errs[1] = remap.ParseSector(string(words[1]))
	tag, err := strconv.ParseUint(string(words[2]), 10, 16)
	i.TagSize, errs[2] = uint16(tag), err
	if errs != [3]error{} {
		return nil
	}
	seen := make(map[string]bool)
	for _, word := range words[5:] {
		name, _, _ := bytes.Cut(word, []byte(":"))
		if !i.option(word) || seen[string(name)] {
			return nil
		}
		seen[string(name)] = true
	}
	return i
}

// option takes in one option (dm-integrity.c, dm_integrity_status).
func (i *Integrity) option(word []byte) bool {
	name, value, valued := bytes.Cut(word, []byte(":"))
	if !valued {
		switch string(name) {
		case "fix_padding":
			i.FixPadding = true
			return true
		case "recalculate", "reset_recalculate", "allow_discards", "allow_discards_keyed", "fix_hmac", "legacy_recalculate":
			return true
		}
		return false
	}
	switch string(name) {
	case "meta_device":
		dev, err := remap.ParseDev(string(value))
		i.Meta = &dev
		return err == nil
	case "internal_hash", "journal_crypt", "journal_mac":
		algorithm, key, keyed := bytes.Cut(value, []byte(":"))
		return validCipher(algorithm) && (!keyed || isHex(key))
	}
	return i.size(string(name), value)
}

// size takes in an option that is a number.
func (i *Integrity) size(name string, value []byte) bool {
	if !isNumber(value) {
		return false
	}
	n, err := remap.ParseSector(string(value))
	switch name {
	case "block_size":
		i.BlockSize = n / remap.SectorSize
		return err == nil && n%remap.SectorSize == 0 && validTagBlock(i.BlockSize)
	case "interleave_sectors":
		i.Interleave = n
	case "journal_sectors":
		i.Journal = n
	case "buffer_sectors", "journal_watermark", "commit_time", "sectors_per_bit", "bitmap_flush_interval":
	default:
		return false
	}
	return err == nil
}
