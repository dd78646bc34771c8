package dmtable

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// randomKey makes a key for digests. It is never stored: digests cannot be
// looked up in tables, and are comparable within one process only.
func randomKey() []byte {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails, crypto/rand
	return key
}

// A digester is a keyed digest of secrets.
type digester struct {
	mac    hash.Hash
	length uint64 // in bytes
}

func newDigester(key []byte) *digester { return &digester{mac: hmac.New(sha256.New, key)} }

// Write implements [io.Writer]. It never fails.
func (d *digester) Write(p []byte) (int, error) {
	d.length += uint64(len(p))
	return d.mac.Write(p)
}

// sum ends the digest. SHA-256 keeps the last block that was not full, and its
// compression leaves the last blocks on the stack: padding and length are
// written in a way that fills both with what is no secret.
func (d *digester) sum() [sha256.Size]byte {
	var harmless [4 * sha256.BlockSize]byte
	if rest := d.length % sha256.BlockSize; rest > 0 {
		d.mac.Write(harmless[rest:sha256.BlockSize])
	}
	binary.LittleEndian.PutUint64(harmless[:], d.length)
	d.mac.Write(harmless[:1]) // the rest fills the block that SHA-256 keeps
	d.mac.Write(harmless[1:])
	return [sha256.Size]byte(d.mac.Sum(nil))
}
