package dmtable

import (
	"math/bits"
	"strconv"
	"strings"
)

// cipherSpec is a cipher of dm-crypt (dm-crypt.c, crypt_ctr_cipher_old):
//
//	<cipher>[:<keys>]-<mode>[-<iv>[:<options of iv>]]
type cipherSpec struct {
	cipher, mode, iv, options string
	// keys is how many keys there are: each sector has the one of its position
	// modulo keys, a power of two (crypt_alloc_req_skcipher).
	keys int
}

// blockCiphers are the ciphers whose ciphertext is known to depend on nothing
// but key, vector and plaintext. ARC4 for one has a state.
var blockCiphers = map[string]bool{
	"aes": true, "anubis": true, "aria": true, "blowfish": true, "camellia": true, "cast5": true, "cast6": true,
	"des": true, "des3_ede": true, "khazad": true, "seed": true, "serpent": true, "sm4": true, "tea": true,
	"twofish": true, "xeta": true, "xtea": true, "xchacha12,aes": true, "xchacha20,aes": true,
}

// cipherModes are the modes of which the same is known.
var cipherModes = map[string]bool{
	"adiantum": true, "cbc": true, "ctr": true, "ecb": true, "hctr2": true, "lrw": true, "pcbc": true, "xts": true,
}

// ivModes are the generators whose vectors depend on nothing but key, position
// and plaintext (dm-crypt.c, crypt_iv_*_gen): the seeds of lmk and tcw and the
// second key of elephant are parts of the key.
var ivModes = map[string]bool{
	"plain": true, "plain64": true, "plain64be": true, "essiv": true, "benbi": true,
	"eboiv": true, "elephant": true, "lmk": true, "tcw": true, "null": true,
}

// parseCipherSpec reads a cipher. It reports false for one of which it is not
// known what its ciphertext depends on, as for those in the words of the crypto
// API ("capi:").
func parseCipherSpec(text string) (cipherSpec, bool) {
	head, rest, _ := strings.Cut(text, "-")
	s := cipherSpec{keys: 1}
	var counted, generated, optional bool
	var count string
	s.cipher, count, counted = strings.Cut(head, ":")
	if s.mode, s.iv, generated = strings.Cut(rest, "-"); generated {
		s.iv, s.options, optional = strings.Cut(s.iv, ":")
	} else if text == head || text == head+"-plain" {
		s.mode, s.iv, generated = "cbc", "plain", true // the format of the first dm-crypt
	}
	if counted {
		n, err := strconv.ParseUint(count, 10, 16)
		if err != nil || strconv.FormatUint(n, 10) != count || bits.OnesCount64(n) != 1 {
			return s, false
		}
		s.keys = int(n)
	}
	// ECB has no vectors, every other mode must have them; essiv has the name
	// of a hash.
	return s, blockCiphers[s.cipher] && cipherModes[s.mode] && generated == (s.mode != "ecb") &&
		generated == ivModes[s.iv] && optional == (s.iv == "essiv") && optional == (s.options != "")
}

// anywhere tells whether ciphertext does not depend on the position.
func (s cipherSpec) anywhere() bool {
	return s.keys == 1 && (s.mode == "ecb" || s.iv == "null")
}

// String is the one spelling of a cipher that has several.
func (s cipherSpec) String() string {
	return s.cipher + ":" + strconv.Itoa(s.keys) + "-" + s.mode + "-" + s.iv + ":" + s.options
}
