package journal

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Range is a run of bytes to copy.
type Range struct{ Src, Dst, Len int64 }

// End is the source or the destination of a copy.
type End struct {
	// Name is what the user typed; it may be another one the next time.
	Name string
	// Identity is the most durable name of the device or file.
	Identity string
	// Size in bytes.
	Size int64
	// Version tells the contents of a file from earlier ones, if that is known.
	Version string
}

// Plan is what is copied from where to where.
type Plan struct {
	Source, Destination End
	Ranges              Ranges
}

// Ranges sum up the ranges of a copy, of which there can be many.
type Ranges struct {
	Count int
	// Bytes are those of all of them.
	Bytes int64
	// From and To are where they begin and end on the destination.
	From, To int64
	// First is the first of them.
	First Range
	// Print is a digest of all, in their order.
	Print [sha256.Size]byte
}

// SumUp sums up ranges that do not overlap on the destination.
func SumUp(ranges []Range) Ranges {
	sum := Ranges{Count: len(ranges)}
	hash := sha256.New()
	for i, r := range ranges {
		if i == 0 {
			sum.First, sum.From, sum.To = r, r.Dst, r.Dst+r.Len
		}
		sum.Bytes += r.Len
		sum.From, sum.To = min(sum.From, r.Dst), max(sum.To, r.Dst+r.Len)
		var number [24]byte
		binary.LittleEndian.PutUint64(number[:], uint64(r.Src))
		binary.LittleEndian.PutUint64(number[8:], uint64(r.Dst))
		binary.LittleEndian.PutUint64(number[16:], uint64(r.Len))
		hash.Write(number[:])
	}
	hash.Sum(sum.Print[:0])
	return sum
}

func (r Ranges) String() string {
	if r.Count == 1 {
		return fmt.Sprintf("%d:%d:%d", r.First.Src, r.First.Dst, r.First.Len)
	}
	return fmt.Sprintf("%d ranges of %d bytes together", r.Count, r.Bytes)
}

// compare lists how now differs from p. Names may differ.
func (p Plan) compare(now Plan) []string {
	points := append(p.Source.compare("the source", now.Source), p.Destination.compare("the destination", now.Destination)...)
	switch {
	case p.Ranges == now.Ranges:
	case p.Ranges.String() == now.Ranges.String():
		points = append(points, fmt.Sprintf("the ranges were others than now, also %s", p.Ranges))
	default:
		points = append(points, fmt.Sprintf("the ranges were %s and are now %s", p.Ranges, now.Ranges))
	}
	return points
}

func (e End) compare(what string, now End) (points []string) {
	if e.Identity != now.Identity {
		points = append(points, fmt.Sprintf("%s was %s (%s) and is now %s (%s)", what, e.Name, e.Identity, now.Name, now.Identity))
	}
	if e.Size != now.Size {
		points = append(points, fmt.Sprintf("%s had %d bytes and has now %d", what, e.Size, now.Size))
	}
	if e.Version != now.Version {
		points = append(points, fmt.Sprintf("%s is not what it was then (%s, now %s)", what, cmp.Or(e.Version, "unknown"), cmp.Or(now.Version, "unknown")))
	}
	return points
}
