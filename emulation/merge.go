package emulation

import (
	"errors"
	"slices"
	"syscall"
)

// insert puts x into a list that is sorted by destination offset, and joins it
// with its neighbours where join can.
func insert[T any](list []T, x T, dst func(T) int64, join func(a, b T) (T, bool)) []T {
	i, _ := slices.BinarySearchFunc(list, dst(x), func(e T, d int64) int {
		if dst(e) < d {
			return -1
		}
		return 1
	})
	if i < len(list) {
		if joined, ok := join(x, list[i]); ok {
			x = joined
			list = slices.Delete(list, i, i+1)
		}
	}
	if i > 0 {
		if joined, ok := join(list[i-1], x); ok {
			list[i-1] = joined
			return list
		}
	}
	return slices.Insert(list, i, x)
}

func insertFailure(list []Failure, f Failure) []Failure {
	return insert(list, f, func(f Failure) int64 { return f.Op.Dst }, joinFailures)
}

// joinFailures makes one failure of two that follow each other and have the same
// cause.
func joinFailures(a, b Failure) (Failure, bool) {
	var x, y *Error
	if !a.Op.precedes(b.Op) || !errors.As(a.Err, &x) || !errors.As(b.Err, &y) {
		return a, false
	}
	if x.Op != y.Op || x.Device != y.Device || !sameErrno(x.Err, y.Err) {
		return a, false
	}
	from, to := min(x.Offset, y.Offset), max(x.Offset+x.Length, y.Offset+y.Length)
	a.Op.Len += b.Op.Len
	a.Err = &Error{x.Op, x.Device, from, to - from, x.Err}
	return a, true
}

func sameErrno(a, b error) bool {
	var x, y syscall.Errno
	return errors.As(a, &x) && errors.As(b, &y) && x == y
}

func insertMismatch(list []Mismatch, m Mismatch) []Mismatch {
	return insert(list, m, func(m Mismatch) int64 { return m.Dst }, joinMismatches)
}

// joinMismatches makes one run of two that end and begin in sectors next to each
// other.
func joinMismatches(a, b Mismatch) (Mismatch, bool) {
	sameOp := a.Src-a.Dst == b.Src-b.Dst || a.Src < 0 && b.Src < 0
	if !sameOp || b.Dst/sectorSize-(a.Dst+a.Len-1)/sectorSize > 1 {
		return a, false
	}
	a.Len = max(a.Dst+a.Len, b.Dst+b.Len) - a.Dst // small operations can lie inside of a run
	return a, true
}
