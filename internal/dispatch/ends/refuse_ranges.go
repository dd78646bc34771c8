package ends

import (
	"fmt"
	"math"
	"sort"

	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
)

// Ranges checks what is to be copied against both ends, before anything is
// written, and fills in what was left open: no ranges at all mean the whole
// source, a length of 0 means the rest of the source, and [Follow] the end of the
// range before. What it returns satisfies
// what an [emulation.Engine] demands of its operations: no two ranges write the
// same bytes, and none reads what another one writes.
//
// The error is a [Refusal] of kind ErrUsage, or of kind ErrRefused if the
// destination is too small, or may be the source by another name.
func Ranges(src, dst Endpoint, ranges []byterange.Range) ([]byterange.Range, error) {
	if src.storedIn(dst) || dst.storedIn(src) {
		return nil, failure.Refuse(dst.Name, "and %s are the same: one is the storage of the other", "choose another destination", src.Name)
	}
	if err := refuseAliases(src, dst); err != nil {
		return nil, err
	}
	if len(ranges) == 0 {
		if src.Device.Size() == 0 {
			return []byterange.Range{}, nil
		}
		ranges = []byterange.Range{{}}
	}
	checked := make([]byterange.Range, len(ranges))
	var last byterange.Range
	for i, r := range ranges {
		r = r.After(last)
		c := rangeCheck{src: src, dst: dst, r: r, number: i + 1, of: len(ranges)}
		if err := c.fits(); err != nil {
			return nil, err
		}
		if err := c.aligned(); err != nil {
			return nil, err
		}
		checked[i], last = c.r, c.r
	}
	if err := writtenOnce(checked); err != nil {
		return nil, err
	}
	if src.Device.ID() != dst.Device.ID() {
		return checked, nil
	}
	return checked, readUnwritten(src.Name, checked)
}

// rangeCheck is one range under examination.
type rangeCheck struct {
	src, dst   Endpoint
	r          byterange.Range
	number, of int
}

// fits demands that the range lies on both ends, and settles its length.
func (c *rangeCheck) fits() error {
	srcSize, dstSize := c.src.Device.Size(), c.dst.Device.Size()
	r := &c.r
	switch {
	case r.Src < 0 || r.Dst < 0:
		return failure.Misuse(c.thing(), "has a negative offset", "offsets count from 0")
	case r.Len < 0:
		return failure.Misuse(c.thing(), "has a negative length", "lengths count from 1, and 0 means the rest of the source")
	case srcSize == 0:
		return failure.Misuse(c.thing(), "cannot be copied: %s is empty", "name another source, or leave out which part of it to copy", c.src.Name)
	case r.Src >= srcSize:
		return failure.Misuse(c.thing(), "begins at byte %d, but %s ends at byte %d", "choose a smaller source offset",
			r.Src, c.src.Name, srcSize)
	case r.Len > srcSize-r.Src:
		return failure.Misuse(c.thing(), "reaches %d bytes beyond the end of %s, which has %d bytes",
			fmt.Sprintf("%d bytes are left from byte %d on", srcSize-r.Src, r.Src),
			r.Len-(srcSize-r.Src), c.src.Name, srcSize)
	}
	if r.Len == 0 {
		r.Len = srcSize - r.Src
	}
	switch {
	case r.Dst > math.MaxInt64-r.Len:
		return failure.Misuse(c.thing(), "ends behind the largest possible offset", "choose a smaller destination offset")
	case r.Len > dstSize-r.Dst:
		return failure.Refuse(c.dst.Name, "is too small by %d bytes: it has %d, and %d are to be written from byte %d on",
			"enlarge it, or copy less with --length", r.Dst+r.Len-dstSize, dstSize, r.Len, r.Dst)
	}
	return nil
}

// aligned demands whole logical blocks of block devices. The engine could
// merge partial blocks, but an odd number is nearly always a mistake in the
// unit. Only the last block of a source may be cut short: files end where they
// want, and a device of 512-byte blocks can be copied to one of 4096.
func (c *rangeCheck) aligned() error {
	atEnd := c.r.Src+c.r.Len == c.src.Device.Size()
	for _, end := range []struct {
		Endpoint
		what   string
		offset int64
	}{{c.src, "source offset", c.r.Src}, {c.dst, "destination offset", c.r.Dst}} {
		if end.Dev.IsZero() {
			continue
		}
		block := int64(end.Device.BlockSize())
		if end.offset%block != 0 {
			return c.misaligned(end.what, end.offset, block, end.Name)
		}
		if c.r.Len%block != 0 && !atEnd {
			return c.misaligned("length", c.r.Len, block, end.Name)
		}
	}
	return nil
}

func (c *rangeCheck) misaligned(what string, value, block int64, name string) error {
	below := value - value%block
	way := fmt.Sprintf("the nearest are %d and %d", below, below+block)
	if below == 0 && what == "length" {
		way = fmt.Sprintf("the nearest is %d", block)
	}
	return failure.Misuse(c.thing(), "has a %s of %d bytes, which is not a multiple of the %d-byte blocks of %s", way,
		what, value, block, name)
}

func (c *rangeCheck) thing() string {
	if c.of == 1 {
		return "the range to copy"
	}
	return rangeName(c.number, c.r)
}

func rangeName(number int, r byterange.Range) string {
	return fmt.Sprintf("range %d (%d:%d:%d)", number, r.Src, r.Dst, r.Len)
}

// writtenOnce demands that no two ranges write the same bytes.
func writtenOnce(ranges []byterange.Range) error {
	order := byterange.ByDestination(ranges)
	for k := 1; k < len(order); k++ {
		a, b := order[k-1], order[k]
		if ranges[b].Dst < ranges[a].Dst+ranges[a].Len {
			return failure.Misuse(rangeName(max(a, b)+1, ranges[max(a, b)]), "writes to what %s writes as well",
				"make the destination ranges disjoint", rangeName(min(a, b)+1, ranges[min(a, b)]))
		}
	}
	return nil
}

// readUnwritten demands, where source and destination are one device, that no
// range reads what any range writes: ranges are copied concurrently. The
// ranges are known not to overlap on the destination.
func readUnwritten(name string, ranges []byterange.Range) error {
	order := byterange.ByDestination(ranges)
	for i, r := range ranges {
		// The first range that ends behind the start of what r reads.
		k := sort.Search(len(order), func(k int) bool {
			w := ranges[order[k]]
			return w.Dst+w.Len > r.Src
		})
		if k == len(order) || ranges[order[k]].Dst >= r.Src+r.Len {
			continue
		}
		j := order[k]
		if i == j {
			return overlapsItself(name, r, i+1, len(ranges))
		}
		return failure.Misuse(rangeName(i+1, r), "reads what %s writes on the same device, %s",
			"copy them one after the other, in separate runs", rangeName(j+1, ranges[j]), name)
	}
	return nil
}

func overlapsItself(name string, r byterange.Range, number, of int) error {
	thing := "the range to copy"
	if of > 1 {
		thing = rangeName(number, r)
	}
	if r.Src == r.Dst {
		return failure.Misuse(thing, "would be copied onto itself: %s is both source and destination", "choose another destination", name)
	}
	return failure.Misuse(thing, "overlaps itself: source and destination are the same device, %s, less than %d bytes apart",
		"choose a destination that does not overlap the source", name, r.Len)
}
