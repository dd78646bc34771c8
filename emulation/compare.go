package emulation

import "bytes"

// compare carries out one piece of a comparison.
func (w *worker) compare(op Op) {
	ours, theirs := w.halves()
	w.scope = op
	if op.Zero {
		a := ours[:op.Len]
		clear(a)
		w.against(op, a, theirs)
		return
	}
	a := w.fetch(&w.src, op.Src, op.Len, ours, op.Src-w.src.down(op.Src))
	w.intact(op, 0, func(part Op) {
		w.scope = part
		w.against(part, a[part.Dst-op.Dst:][:part.Len], theirs)
	})
}

// halves are the two parts of the buffer for the two sides, on page boundaries.
func (w *worker) halves() (ours, theirs []byte) {
	half := halfBuffer(len(w.buffer))
	return w.buffer[:half], w.buffer[half:]
}

// against reads op on the destination and compares it with a.
func (w *worker) against(op Op, a, area []byte) {
	from := len(w.failures)
	b := w.fetch(&w.dst, op.Dst, op.Len, area, op.Dst-w.dst.down(op.Dst))
	w.intact(op, from, func(part Op) {
		at := part.Dst - op.Dst
		w.stats.Read += part.Len
		w.differ(part, a[at:][:part.Len], b[at:][:part.Len])
	})
}

// differ records where a and b differ, sector by sector of the destination.
func (w *worker) differ(op Op, a, b []byte) {
	if bytes.Equal(a, b) {
		return
	}
	for op.Len > 0 {
		sector, rest := op.cut(sectorSize)
		n := sector.Len
		if !bytes.Equal(a[:n], b[:n]) {
			w.mismatches = append(w.mismatches, mismatch(sector, a[:n], b[:n]))
		}
		op, a, b = rest, a[n:], b[n:]
	}
}

// mismatch trims a sector that differs to the first and last byte that do.
func mismatch(sector Op, a, b []byte) Mismatch {
	first, last := 0, len(a)-1
	for a[first] == b[first] {
		first++
	}
	for a[last] == b[last] {
		last--
	}
	m := Mismatch{Src: sector.Src + int64(first), Dst: sector.Dst + int64(first), Len: int64(last - first + 1)}
	if sector.Zero {
		m.Src = -1
	}
	return m
}
