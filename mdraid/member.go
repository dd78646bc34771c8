package mdraid

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/dmcopy/dmcopy/internal/raidmap"
	"github.com/dmcopy/dmcopy/remap"
)

// memberWords are the words of a member's state (drivers/md/md.c, state_show).
var memberWords = map[string]bool{
	"faulty": true, "in_sync": true, "journal": true, "write_mostly": true, "blocked": true, "spare": true, "write_error": true,
	"want_replacement": true, "replacement": true, "external_bbl": true, "failfast": true,
}

// fullList is the length in bytes from which on a list of bad blocks may have
// been cut: it is printed into one page (block/badblocks.c, badblocks_show).
const fullList = 4000

// parse understands the files of a member. If it does not, bad is the file.
func (m *Member) parse() (l leg, bad string) {
	p := parser{attrs: m.Attrs}
	l = leg{dev: m.Dev, words: strings.Split(m.Attrs["state"], ","), slot: noSlot, offset: p.sector("offset"), size: p.kib("size")}
	for _, word := range l.words {
		if !memberWords[word] {
			p.reject("state")
		}
	}
	p.sectorOrNone("recovery_start")
	switch text := m.Attrs["slot"]; text {
	case "none":
	case "journal":
		if !l.is("journal") {
			p.reject("slot")
		}
	default:
		n, err := remap.ParseSector(text)
		if err != nil || n >= raidmap.MaxDisks || l.is("journal") {
			p.reject("slot")
			break
		}
		l.slot = int(n)
	}
	l.muddled = len(m.Attrs["bad_blocks"]) >= fullList || m.Attrs["unacknowledged_bad_blocks"] != ""
	if !l.muddled {
		l.bad = p.badBlocks("bad_blocks", l.offset)
	}
	return l, p.bad
}

// badBlocks reads lines "sector length". They count from the beginning of the
// device (drivers/md/md.h, is_badblock); the result counts from offset.
func (p *parser) badBlocks(name string, offset remap.Sector) []raidmap.Bad {
	text := strings.TrimSuffix(p.attrs[name], "\n")
	if text == "" {
		return nil
	}
	var list []raidmap.Bad
	for _, line := range strings.Split(text, "\n") {
		first, second, ok := strings.Cut(line, " ")
		start, err := remap.ParseSector(first)
		n, lenErr := strconv.ParseUint(second, 10, 32)
		if !ok || err != nil || lenErr != nil || n == 0 {
			p.reject(name)
			return nil
		}
		end := start + remap.Sector(n) - offset
		if start = max(0, start-offset); end > start {
			list = append(list, raidmap.Bad{Start: start, Len: end - start})
		}
	}
	return merged(list)
}

// merged puts runs in order and joins those that touch.
func merged(list []raidmap.Bad) []raidmap.Bad {
	slices.SortFunc(list, func(a, b raidmap.Bad) int { return cmp.Compare(a.Start, b.Start) })
	var joined []raidmap.Bad
	for _, b := range list {
		if n := len(joined); n > 0 && b.Start <= joined[n-1].Start+joined[n-1].Len {
			last := &joined[n-1]
			last.Len = max(last.Len, b.Start+b.Len-last.Start)
			continue
		}
		joined = append(joined, b)
	}
	return joined
}

// present tells whether the array uses the member.
func (l *leg) present() bool {
	return l != nil && !l.dev.IsZero() && !l.is("faulty")
}

// readable tells whether the member can be read where it has no bad blocks.
// One that is not in sync could be, up to where its recovery has come; that
// moves all the time, and so it is left alone. One that is write-mostly may lag
// behind what others have (drivers/md/raid1.c, write-behind).
func (l *leg) readable() bool {
	return l.present() && l.is("in_sync") && !l.muddled &&
		!l.is("blocked") && !l.is("write_mostly") && !l.is("replacement") && !l.is("journal")
}

// member is what the arithmetic has to know of a slot.
func (s slot) config() raidmap.Member {
	l := s.member
	if !l.present() {
		return raidmap.Member{}
	}
	m := raidmap.Member{Dev: l.dev, Offset: l.offset, Size: l.size, Bad: l.bad}
	if l.readable() {
		m.ReadableTo = remap.MaxSectors
	}
	if s.replacement.present() {
		m.Replacement, m.ReplacementOffset = s.replacement.dev, s.replacement.offset
	}
	return m
}
