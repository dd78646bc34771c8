package dispatch

import (
	"cmp"
	"slices"
	"time"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/remap"
)

const (
	// maxSteps bounds the memory of a window.
	maxSteps = 1 << 16
	// firstWindow is the size of the first window in bytes, before anything
	// is known about the speed of the device; minWindow the smallest.
	firstWindow = 64 << 20
	minWindow   = 1 << 20
	// holdTarget is how long a window should be held: everybody who wants to
	// change the layout waits that long.
	holdTarget = 750 * time.Millisecond
)

// window is the unit of hold, check, issue and release.
type window struct {
	steps   []Step
	offload int64 // bytes to be offloaded
	skipped int64 // bytes with which there is nothing to be done
	bytes   int64
	// unbegun is what is left of a window that was cut short.
	unbegun []Range
	// byHost went through the host.
	byHost []Range
}

// done are the bytes of a window that was carried out, and of which nothing has to
// be planned again.
func (w *window) done() int64 { return w.bytes - length(w.unbegun) }

// moved are those of them that took time.
func (w *window) moved() int64 { return w.done() - w.skipped }

// whole is what was done of a window.
func (w *window) whole() []Range {
	_, done := divide(rangesOf(w.steps), extents(w.unbegun))
	return done
}

// take adds as much of the step as there is room for, and returns the rest, or
// nil if all of it found room.
func (w *window) take(s *Step, size, most int64) *Step {
	if s.Method == MethodSkip && len(w.steps) < maxSteps {
		w.steps = append(w.steps, *s)
		w.bytes += s.Len
		w.skipped += s.Len
		return nil
	}
	left := most - (w.bytes - w.skipped)
	room := left
	if s.Method.offloads() {
		room = min(room, size-w.offload)
		// A cut must not make an unaligned piece of an aligned one.
		room -= room % s.block
		if len(w.steps) == 0 {
			room = max(room, s.block) // or there would never be room
		}
	}
	if len(w.steps) == maxSteps || room <= 0 {
		return s
	}
	if s.Len-room <= size/8 && s.Len <= left {
		room = s.Len // rather than a window for a short rest
	}
	n := min(s.Len, room)
	w.steps = append(w.steps, s.part(0, n))
	w.bytes += n
	if s.Method.offloads() {
		w.offload += n
	}
	if n == s.Len {
		return nil
	}
	rest := s.part(n, s.Len-n)
	return &rest
}

func (w *window) reset() { *w = window{steps: w.steps[:0]} }

// split returns the offloaded steps by pair, and the others.
func (w *window) split() (offload map[pairKey][]Step, rest []Step) {
	offload = make(map[pairKey][]Step)
	for _, s := range w.steps {
		if s.Method.offloads() {
			key := pairKey{s.SrcLeaf.Dev, s.DstLeaf.Dev}
			offload[key] = append(offload[key], s)
		} else {
			rest = append(rest, s)
		}
	}
	return offload, rest
}

// batch is the steps of a window that one pair carries out, in the order of the
// destination leaf.
type batch struct {
	pair     copydomain.Pair
	steps    []Step
	notAfter boottime.Limit // for beginning a command
}

func newBatch(steps []Step, notAfter boottime.Limit) *batch {
	slices.SortFunc(steps, func(a, b Step) int { return cmp.Compare(a.DstLeafOff, b.DstLeafOff) })
	return &batch{pair: steps[0].pair, steps: steps, notAfter: notAfter}
}

// moves are the steps in sectors on the leaves.
func (b *batch) moves() []copydomain.Move {
	moves := make([]copydomain.Move, 0, len(b.steps))
	for _, s := range b.steps {
		moves = append(moves, copydomain.Move{Src: sectors(s.SrcLeafOff), Dst: sectors(s.DstLeafOff), Len: sectors(s.Len)})
	}
	return moves
}

// covers tells whether the run of the destination leaf, in bytes, lies within
// the steps of the batch.
func (b *batch) covers(off, n int64) bool {
	for _, part := range b.at(off, n) {
		if part.DstLeafOff != off {
			return false
		}
		off += part.Len
		n -= part.Len
	}
	return n == 0
}

// at returns the parts of the steps that write the run of the destination leaf,
// in bytes: the way back from the leaves to the top.
func (b *batch) at(off, n int64) []Step {
	first, _ := slices.BinarySearchFunc(b.steps, off, func(s Step, off int64) int {
		return cmp.Compare(s.DstLeafOff+s.Len, off+1)
	})
	var parts []Step
	for _, s := range b.steps[first:] {
		if s.DstLeafOff >= off+n {
			break
		}
		start := max(off, s.DstLeafOff)
		end := min(off+n, s.DstLeafOff+s.Len)
		parts = append(parts, s.part(start-s.DstLeafOff, end-start))
	}
	return parts
}

// whole is at, rounded out to what the steps cannot be cut below: of a block
// that is enciphered as one, the host cannot copy a half. What is taken already
// is left out.
func (b *batch) whole(off, n int64, taken []Step) []Step {
	parts := b.at(off, n)
	rounded := false
	for i, s := range parts {
		head := s.DstLeafOff % s.block
		tail := (s.block - (s.DstLeafOff+s.Len)%s.block) % s.block
		rounded = rounded || head+tail > 0
		parts[i] = s.part(-head, head+s.Len+tail)
	}
	if !rounded {
		return parts
	}
	return without(parts, taken)
}

// without returns what is left of the steps when others, by their place on the
// destination, are taken away.
func without(steps, taken []Step) []Step {
	taken = slices.SortedFunc(slices.Values(taken), func(a, b Step) int { return cmp.Compare(a.DstOff, b.DstOff) })
	var left []Step
	for _, s := range steps {
		first, _ := slices.BinarySearchFunc(taken, s.DstOff, func(t Step, off int64) int {
			return cmp.Compare(t.DstOff+t.Len, off+1)
		})
		end := s.DstOff + s.Len
		for _, t := range taken[first:] {
			if t.DstOff >= end {
				break
			}
			if before := t.DstOff - s.DstOff; before > 0 {
				left = append(left, s.part(0, before))
			}
			cut := min(max(t.DstOff+t.Len-s.DstOff, 0), s.Len)
			s = s.part(cut, s.Len-cut)
		}
		if s.Len > 0 {
			left = append(left, s)
		}
	}
	return left
}

// request lists what has to be held for the steps: one chain per way from the
// destination down to a leaf, with the longest run that takes it.
func request(stack *remap.Stack, offload map[pairKey][]Step, deadline time.Duration) hold.Request {
	longest := make(map[*remap.Via]Step)
	for _, steps := range offload {
		for _, s := range steps {
			if s.Len > longest[s.via].Len {
				longest[s.via] = s
			}
		}
	}
	req := hold.Request{Deadline: deadline}
	for via, s := range longest {
		chain := hold.Chain{Start: sectors(s.DstOff), Len: sectors(s.Len), Leaf: s.DstLeaf.Dev}
		for _, link := range via.Chain() {
			node := stack.Node(link.Dev)
			if !node.Mutable {
				continue
			}
			chain.Nodes = append(chain.Nodes, link.Dev)
			if node.Owner.Manager == "lvm" && !slices.Contains(req.Groups, node.Owner.Group) {
				req.Groups = append(req.Groups, node.Owner.Group)
			}
		}
		req.Chains = append(req.Chains, chain)
	}
	slices.Sort(req.Groups)
	return req
}

// resize adapts the size of windows to how long the last one was held. Where
// windows are large enough for it, grain, the bytes of one full command to each
// of its pairs, divides them: a window that ends in the middle of a command
// costs one more.
func resize(size, bytes, grain int64, held time.Duration, most int64) int64 {
	if held <= 0 || bytes == 0 {
		return size
	}
	fit := whole(float64(bytes) * float64(holdTarget) / float64(held))
	next := max(min(fit, size*16, most), min(minWindow, most))
	if next > grain && grain > 0 {
		next -= next % grain
	}
	return next
}

// grain is the bytes of one full command to every pair.
func grain(offload map[pairKey][]Step) int64 {
	var sum int64
	for _, steps := range offload {
		sum += steps[0].pair.CommandBytes
	}
	return sum
}
