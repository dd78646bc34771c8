package dispatch

import "github.com/dmcopy/dmcopy/emulation"

// What is known to read as zeroes at the source, because it is not mapped there or a hole
// of a file, is not read. It is left alone where the destination is known to read as zeroes
// as well; elsewhere the destination is made to ([emulation.Device.Zero]).

// Holer is a regular file that knows where its holes are.
type Holer interface {
	// Hole tells whether the file has a hole at byte off, and where that, or what is
	// none, ends: behind off.
	Hole(off int64) (hole bool, end int64, err error)
}

// holesOf makes a Holer of a file if it can be relied on. What is dirty is written first:
// what is then a hole is one on disk as well.
func holesOf(file *emulation.File) Holer {
	if ok, err := file.TellsHoles(); err != nil || !ok || file.Sync() != nil {
		return nil
	}
	return file
}

// sparse tells whether holes of the source are looked for. Within one file they are not:
// what is read could have been written by then.
func (p *plan) sparse() bool {
	return p.src.Holes != nil && p.src.Device.ID() != p.dst.Device.ID()
}

// emit yields a step in the parts that it is carried out in.
func (p *plan) emit(s *Step, yield func(*Step, error) bool) bool {
	switch {
	case s.Method == MethodZero:
		return p.emitZeroes(s, yield)
	case s.Method == MethodHost && p.sparse():
		return parted(s, p.src.Holes, s.SrcOff, func(hole bool) bool {
			if !hole {
				return yield(s, nil)
			}
			s.Method, s.Reason = MethodZero, ReasonHole
			return p.emitZeroes(s, yield)
		})
	}
	return s.align(yield)
}

// emitZeroes yields a step whose source reads as zeroes: what the destination reads as,
// where that is known, is left alone.
func (p *plan) emitZeroes(s *Step, yield func(*Step, error) bool) bool {
	switch {
	case p.dst.Holes != nil:
		return parted(s, p.dst.Holes, s.DstOff, func(hole bool) bool {
			if hole {
				s.Method = MethodSkip
			}
			return yield(s, nil)
		})
	case s.unit > 0:
		return s.wholeUnits(yield)
	}
	return yield(s, nil)
}

// parted calls do for each part of a step that is a hole of a file, or is none; off is
// where the step begins there. The file is not believed what cannot be, nor asked again
// then: the rest is no hole.
func parted(s *Step, file Holer, off int64, do func(hole bool) bool) bool {
	whole := *s
	for at := int64(0); at < whole.Len; {
		hole, end, err := file.Hole(off + at)
		n := min(end-(off+at), whole.Len-at)
		if err != nil || n <= 0 {
			hole, n = false, whole.Len-at
		}
		*s = whole.part(at, n)
		at += n
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
		method Method
	}{{0, head, MethodZero}, {head, body, MethodSkip}, {head + body, whole.Len - head - body, MethodZero}} {
		if part.n == 0 {
			continue
		}
		*s = whole.part(part.off, part.n)
		if s.Method = part.method; !yield(s, nil) {
			return false
		}
	}
	return true
}
