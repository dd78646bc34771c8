package emulation

import (
	"errors"
	"hash/maphash"
	"sync"
)

// sparseUnit is the smallest run of zeroes that is worth an operation of its
// own, in bytes: the smallest chunk of a dm-thin pool (64 KiB).
const sparseUnit = 64 << 10

// copy carries out one piece of an operation.
func (w *worker) copy(op Op) {
	w.scope = op
	if op.Zero {
		w.copyZeroes(op)
		return
	}
	data := w.fetch(&w.src, op.Src, op.Len, w.data(), op.Dst)
	w.stats.Read += op.Len - w.stats.Failed
	w.intact(op, 0, func(part Op) {
		w.scope = part
		w.store(part.Dst, data[part.Dst-op.Dst:][:part.Len])
	})
}

// copyZeroes makes a piece zero, which can be larger than the buffer: the device does it
// at one go, or else each part of it is tried, and written.
func (w *worker) copyZeroes(op Op) {
	first, last := w.dst.up(op.Dst), w.dst.down(op.Dst+op.Len)
	if op.Len > w.piece && w.zeroByDevice(first, last-first) {
		w.stats.Zeroed += last - first
		w.zeroes(op.first(first - op.Dst))
		op = op.skip(last - op.Dst)
	}
	w.zeroes(op)
}

func (w *worker) zeroes(op Op) {
	for op.Len > 0 {
		w.scope, op = op.cut(w.piece)
		w.zero(w.scope.Dst, w.data()[w.scope.Dst%w.dst.block:][:w.scope.Len])
	}
}

// data is the part of the buffer behind the block that merge needs.
func (w *worker) data() []byte { return w.buffer[max(w.src.block, w.dst.block):] }

// fetch reads [off, off+n) of e, by whole blocks, into area. The address of the
// bytes that it returns is congruent to the offset like modulo a block of the
// destination, so that they can be written there without being moved.
func (w *worker) fetch(e *end, off, n int64, area []byte, like int64) []byte {
	from, to := e.down(off), e.up(off+n)
	wanted := like % w.dst.block
	at := (like - (off - from)) & (w.dst.block - 1)
	if at%e.block != 0 {
		at = 0 // the two sides are misaligned differently
	}
	w.move(e, false, area[at:at+to-from], from)
	start := at + off - from
	data := area[start:][:n]
	if start%w.dst.block != wanted {
		copy(area[wanted:][:n], data)
		data = area[wanted:][:n]
	}
	return data
}

// intact calls fn for the parts of op that are not among the failures from the
// given one on, which must be in order.
func (w *worker) intact(op Op, from int, fn func(part Op)) {
	failures := w.failures[from:]
	for _, lost := range failures {
		if n := lost.Op.Dst - op.Dst; n > 0 {
			fn(op.first(n))
		}
		op = op.skip(lost.Op.Dst + lost.Op.Len - op.Dst)
	}
	if op.Len > 0 {
		fn(op)
	}
}

// store writes data, which has been read, at d, and zeroes as the options say.
func (w *worker) store(d int64, data []byte) {
	if w.options.Sparse == SparseOff {
		w.write(d, data)
		return
	}
	unit := max(min(sparseUnit, w.piece), w.dst.block)
	for len(data) > 0 {
		n, zero := leadingRun(d, data, unit)
		switch {
		case !zero:
			w.write(d, data[:n])
		case w.options.Sparse == SparseSkip:
			w.stats.Skipped += n
		default:
			w.zero(d, data[:n])
		}
		d, data = d+n, data[n:]
	}
}

// leadingRun returns the length of the units at the start of data that are all
// zero, or all not. Only whole units, at a multiple of their size, count as
// zero.
func leadingRun(d int64, data []byte, unit int64) (n int64, zero bool) {
	for n < int64(len(data)) {
		size := min(int64(len(data))-n, unit-(d+n)%unit)
		isZero := size == unit && IsZero(data[n:n+size])
		if n == 0 {
			zero = isZero
		} else if zero != isZero {
			break
		}
		n += size
	}
	return n, zero
}

// write writes data at d and counts it.
func (w *worker) write(d int64, data []byte) {
	failed := w.stats.Failed
	w.put(d, data)
	w.stats.Written += int64(len(data)) - (w.stats.Failed - failed)
}

// zero makes as many bytes at d zero as memory has. The device does it, or else
// memory, which must be aligned like d, is cleared and written.
func (w *worker) zero(d int64, memory []byte) {
	failed := w.stats.Failed
	first, last := w.dst.up(d), w.dst.down(d+int64(len(memory)))
	if first < last && w.zeroByDevice(first, last-first) {
		w.putZeroes(d, memory[:first-d])
		w.putZeroes(last, memory[last-d:])
	} else {
		w.putZeroes(d, memory)
	}
	w.stats.Zeroed += int64(len(memory)) - (w.stats.Failed - failed)
}

// zeroByDevice says whether the device has done it. If it has not, for whatever
// reason, zeroes are to be written: that works, or it names the sectors.
func (w *worker) zeroByDevice(off, n int64) bool {
	if w.cannotZero.Load() {
		return false
	}
	err := w.calls.zero(&w.dst, off, n)
	if errors.Is(err, errors.ErrUnsupported) {
		w.cannotZero.Store(true)
	}
	return err == nil
}

func (w *worker) putZeroes(d int64, memory []byte) {
	clear(memory)
	w.put(d, memory)
}

// put writes data at d, by blocks where it covers them, or as it is where the
// destination takes that.
func (w *worker) put(d int64, data []byte) {
	for len(data) > 0 {
		n := int64(len(data))
		atEnd := d+n == w.dst.size // no bytes behind it in its last block
		switch into := d % w.dst.unit; {
		case into == 0 && (atEnd || w.dst.unit == 1):
			w.move(&w.dst, true, data, d)
		case into == 0 && n >= w.dst.unit:
			n = w.dst.down(n)
			w.move(&w.dst, true, data[:n], d)
		default:
			n = min(n, w.dst.unit-into)
			w.merge(d, data[:n])
		}
		d, data = d+n, data[n:]
	}
}

// merge writes data into one block of the destination and keeps the rest of it.
func (w *worker) merge(d int64, data []byte) {
	block := w.dst.down(d)
	lock := edgeLock(w.dstHash, block/w.dst.block)
	w.calls.lock(lock)
	defer lock.Unlock()
	w.stats.Merged++
	memory := w.buffer[:w.dst.block]
	failed := w.stats.Failed
	if w.move(&w.dst, false, memory, block); w.stats.Failed > failed {
		return
	}
	copy(memory[d-block:], data)
	w.move(&w.dst, true, memory[:min(w.dst.block, w.dst.size-block)], block)
}

// edgeLocks serialise merges, so that two pieces in one block of a destination
// do not undo each other. They belong to the process, as the blocks do: the
// pieces can come from different calls. Nobody else is in one of these blocks: merged
// are those of block devices, which their process has to itself. Unrelated blocks that
// share a lock only wait for each other; a worker never holds two.
var (
	edgeLocks [64]sync.Mutex
	edgeSeed  = maphash.MakeSeed()
)

func edgeLock(device uint64, block int64) *sync.Mutex {
	return &edgeLocks[(device+uint64(block))%uint64(len(edgeLocks))]
}
