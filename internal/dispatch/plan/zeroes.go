package plan

import (
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
)

// What is known to read as zeroes at the source, because it is not mapped there or a hole
// of a file, is not read. It is left alone where the destination is known to read as zeroes
// as well; elsewhere the destination is made to ([emulation.Device.Zero]).

// Sparse tells whether holes of the source are looked for. Within one file they are not:
// what is read could have been written by then.
func (p *Plan) Sparse() bool {
	return p.src.Holes != nil && p.src.Device.ID() != p.Dst.Device.ID()
}

// emission yields steps in the parts that they are carried out in.
type emission struct {
	*Plan
	yield func(*Step, error) bool
}

func (p emission) of(s *Step) bool {
	switch {
	case s.Method == account.Zero:
		return p.ofZeroes(s)
	case s.Method == account.Host && p.Sparse():
		return parted(s, p.src.Holes, s.SrcOff, func(hole bool) bool {
			if !hole {
				return p.yield(s, nil)
			}
			s.Method, s.Reason = account.Zero, ReasonHole
			return p.ofZeroes(s)
		})
	}
	return s.align(p.yield)
}

// ofZeroes yields a step whose source reads as zeroes: what the destination reads as,
// where that is known, is left alone.
func (p emission) ofZeroes(s *Step) bool {
	switch {
	case p.Dst.Holes != nil:
		return parted(s, p.Dst.Holes, s.DstOff, func(hole bool) bool {
			if hole {
				s.Method = account.Skip
			}
			return p.yield(s, nil)
		})
	case s.unit > 0:
		return s.wholeUnits(p.yield)
	}
	return p.yield(s, nil)
}

// parted calls do for each part of a step that is a hole of a file, or is none; off is
// where the step begins there.
func parted(s *Step, file ends.HoleFinder, off int64, do func(hole bool) bool) bool {
	whole := *s
	for part, hole := range ends.Parts(file, off, whole.Len) {
		*s = whole.Part(part.Off, part.Len)
		if !do(hole) {
			return false
		}
	}
	return true
}

// wholeUnits leaves alone the units that lie in a step as a whole. The others may get
// something beside what the step leaves out, and then show what nobody has written: they
// are written.
func (s *Step) wholeUnits(yield func(*Step, error) bool) bool {
	whole := *s
	head := min((whole.unit-whole.unitOff%whole.unit)%whole.unit, whole.Len)
	body := (whole.Len - head) / whole.unit * whole.unit
	for _, part := range []struct {
		off, n int64
		method account.Method
	}{{0, head, account.Zero}, {head, body, account.Skip}, {head + body, whole.Len - head - body, account.Zero}} {
		if part.n == 0 {
			continue
		}
		*s = whole.Part(part.off, part.n)
		if s.Method = part.method; !yield(s, nil) {
			return false
		}
	}
	return true
}
