package emulation

import "bytes"

var zeroPage [4096]byte

// IsZero says whether all bytes of b are zero. It compares with a page of zeroes
// that stays in the cache: the vectorised comparison of the runtime is faster
// than loading words, and stops at the first page that differs.
func IsZero(b []byte) bool {
	for len(b) > len(zeroPage) {
		if !bytes.Equal(b[:len(zeroPage)], zeroPage[:]) {
			return false
		}
		b = b[len(zeroPage):]
	}
	return bytes.Equal(b, zeroPage[:len(b)])
}
