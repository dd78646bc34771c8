package dmtable

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"sync"
)

const (
	keyNone    = "none"
	keyRaw     = "raw"
	keyWrapped = "wrapped"
)

// keyrings are the types of the kernel's keyrings that keys are taken from
// (dm-crypt.c, crypt_set_keyring_key).
var keyrings = []string{"logon", "user", "encrypted", "trusted"}

// keyKinds are the kinds of keys by target type.
var keyKinds = map[string][]string{
	typeCrypt:       append([]string{keyNone, keyRaw}, keyrings...),
	typeInlineCrypt: {keyRaw, keyWrapped},
}

// cryptKey tells kind and length of a key without copying it. In a keyring the
// key is written as ":<size>:<type>:<description>".
func cryptKey(word []byte) (kind string, size int, ok bool) {
	if string(word) == "-" {
		return keyNone, 0, true
	}
	if keyring, found := bytes.CutPrefix(word, []byte(":")); found {
		return keyringKey(keyring)
	}
	return keyRaw, len(word) / 2, isHex(word) && len(word)%2 == 0
}

func keyringKey(word []byte) (kind string, size int, ok bool) {
	parts := bytes.SplitN(word, []byte(":"), 3)
	if len(parts) != 3 || !isNumber(parts[0]) || len(parts[2]) == 0 {
		return "", 0, false
	}
	size, err := strconv.Atoi(string(parts[0]))
	if err != nil {
		return "", 0, false
	}
	for _, kind := range keyrings {
		if string(parts[1]) == kind {
			return kind, size, true
		}
	}
	return "", 0, false
}

// digestBytes is the length of a key's digest before it is written in hex.
const digestBytes = 16

// digestKey is the key of the digests of keys. It dies with the process, and
// what digests are worth with it.
var digestKey = sync.OnceValue(randomKey)

// keyDigest digests the bytes of a key that is written in hex. It is empty for
// a key of nothing but zeroes: that is what the kernel prints for a key that was
// wiped, while a random one is in use (dm-crypt.c, crypt_wipe_key).
//
// The key is decoded in blocks of the digest, so that no copy is kept there.
func keyDigest(word []byte) string {
	mac := newDigester(digestKey())
	block := make([]byte, sha256.BlockSize)
	defer clear(block)
	seen := byte(0)
	for len(word) > 0 {
		n, err := hex.Decode(block, word[:min(len(word), hex.EncodedLen(len(block)))])
		if err != nil {
			return ""
		}
		for _, b := range block[:n] {
			seen |= b
		}
		mac.Write(block[:n])
		word = word[hex.EncodedLen(n):]
	}
	if seen == 0 {
		return ""
	}
	sum := mac.sum()
	return hex.EncodeToString(sum[:digestBytes])
}

// validDigest tells whether the digest can belong to the kind of key.
func (c *Crypt) validDigest() bool {
	if c.KeyDigest == "" {
		return true
	}
	var sum [digestBytes]byte
	n, err := hex.Decode(sum[:], []byte(c.KeyDigest[:min(len(c.KeyDigest), hex.EncodedLen(digestBytes))]))
	return err == nil && n == digestBytes && hex.EncodeToString(sum[:]) == c.KeyDigest && c.KeyKind == keyRaw && c.KeyBytes > 0
}
