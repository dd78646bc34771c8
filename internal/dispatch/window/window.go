// Package window cuts a plan into windows, the unit in which a layout is held, compared, issued
// and released, and knows the words for the steps of one.
package window

import (
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
)

const (
	// maxSteps bounds the memory of a window.
	maxSteps = 1 << 13
	// InitialSize is the size of the first window in bytes, before anything
	// is known about the speed of the device; MinSize the smallest.
	InitialSize = 64 << 20
	MinSize     = 1 << 20
	// holdTarget is how long a window should be held: everybody who wants to
	// change the layout waits that long.
	holdTarget = 750 * time.Millisecond
)

// Window is the unit of hold, check, issue and release.
type Window struct {
	Steps   []plan.Step
	offload int64 // bytes to be offloaded
	skipped int64 // bytes with which there is nothing to be done
	Bytes   int64
	// Unbegun is what is left of a window that was cut short.
	Unbegun []byterange.Range
	// ByHost went through the host.
	ByHost []byterange.Range
}

// Done are the bytes of a window that was carried out, and of which nothing has to
// be planned again.
func (w *Window) Done() int64 { return w.Bytes - byterange.Length(w.Unbegun) }

// Moved are those of them that took time.
func (w *Window) Moved() int64 { return w.Done() - w.skipped }

// Whole is what was done of a window.
func (w *Window) Whole() []byterange.Range {
	return byterange.Without(plan.RangesOf(w.Steps), w.Unbegun)
}

// Take adds as much of the step as there is room for, and returns the rest, or
// nil if all of it found room.
func (w *Window) Take(s *plan.Step, size, most int64) *plan.Step {
	if s.Method == account.Skip && len(w.Steps) < maxSteps {
		w.Steps = append(w.Steps, *s)
		w.Bytes += s.Len
		w.skipped += s.Len
		return nil
	}
	left := most - (w.Bytes - w.skipped)
	room := left
	if s.Method.Offloads() {
		room = min(room, size-w.offload)
		// A cut must not make an unaligned piece of an aligned one.
		room -= room % s.Block
		if len(w.Steps) == 0 {
			room = max(room, s.Block) // or there would never be room
		}
	}
	if len(w.Steps) == maxSteps || room <= 0 {
		return s
	}
	if s.Len-room <= size/8 && s.Len <= left {
		room = s.Len // rather than a window for a short rest
	}
	n := min(s.Len, room)
	w.Steps = append(w.Steps, s.Part(0, n))
	w.Bytes += n
	if s.Method.Offloads() {
		w.offload += n
	}
	if n == s.Len {
		return nil
	}
	rest := s.Part(n, s.Len-n)
	return &rest
}

// Reset begins the next window.
func (w *Window) Reset() { *w = Window{Steps: w.Steps[:0]} }

// Split returns the offloaded steps by pair, and the others.
func (w *Window) Split() (offload Offload, rest []plan.Step) {
	offload = make(Offload)
	for _, s := range w.Steps {
		if s.Method.Offloads() {
			key := plan.Key{Src: s.SrcLeaf.Dev, Dst: s.DstLeaf.Dev}
			offload[key] = append(offload[key], s)
		} else {
			rest = append(rest, s)
		}
	}
	return offload, rest
}
