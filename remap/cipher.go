package remap

// CipherKey says what the ciphertext of a sector depends on besides its
// plaintext and the position that its initialization vector is made of.
type CipherKey struct {
	// ID is equal for two runs only if cipher, key bytes and sector size are
	// proven to be equal. It is empty where nothing can be proven. It does
	// not reveal the key.
	ID string
	// Block is the length of what is enciphered as one, in sectors: parts of
	// it cannot be moved.
	Block Sector
	// Anywhere tells that the position does not matter (ECB, no IV).
	Anywhere bool
}

// SameCipher tells whether the stored sectors of a run of src can be moved to a
// run of dst of the same length as they are, so that dst reads what src reads:
// both runs are enciphered with the same key and for the same positions.
func SameCipher(src, dst *Extent) bool {
	if src.Kind != Cipher || dst.Kind != Cipher || src.Cipher == nil || dst.Cipher == nil {
		return false
	}
	a, b := src.Cipher, dst.Cipher
	return a.ID != "" && a.Block > 0 && a.ID == b.ID && a.Block == b.Block && a.Anywhere == b.Anywhere && (a.Anywhere || src.IV == dst.IV)
}

// encipher notes that a layer enciphers the run. No single key tells what is
// below two of them.
func (e *Extent) encipher(p *Place) {
	if e.Kind == Cipher {
		e.Cipher, e.IV = nil, 0
		return
	}
	e.Kind, e.Cipher, e.IV = Cipher, p.Cipher, p.IV
}

// ivFollows tells whether the positions of e continue those of prev.
func (e *Extent) ivFollows(prev *Extent) bool {
	return e.Cipher == prev.Cipher && (e.Cipher == nil || e.IV == prev.IV+uint64(prev.Len))
}
