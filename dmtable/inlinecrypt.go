package dmtable

import (
	"bytes"

	"github.com/dmcopy/dmcopy/remap"
)

const typeInlineCrypt = "inlinecrypt"

// inlineCipher is the only cipher of dm-inlinecrypt (dm_inlinecrypt_ciphers),
// and inlineKeyBytes the length of its key (block/blk-crypto.c).
const (
	inlineCipher   = "aes-xts-plain64"
	inlineKeyBytes = 64
)

// inlineKinds are the kinds of keys, by how the line has them: enum
// blk_crypto_key_type of include/linux/blk-crypto.h.
var inlineKinds = map[string]string{"1": keyRaw, "2": keyWrapped}

// inlineOptions are the options that dm-inlinecrypt prints
// (drivers/md/dm-inlinecrypt.c, inlinecrypt_status).
var inlineOptions = []string{"allow_discards", "sector_size", "iv_large_sectors"}

// parseInlineCrypt maps a line whose blocks the block layer or the disk
// enciphers, with the number of the block as their vector (inlinecrypt_map). A
// copy command of the disk does not pass either: it moves ciphertext.
func parseInlineCrypt(t *Target, a *args) mapping {
	c := t.Crypt
	if c == nil {
		a.reject()
		return nil
	}
	key := new(remap.CipherKey)
	if c.Cipher == inlineCipher && c.KeyDigest != "" {
		key.ID = c.identity(typeInlineCrypt, c.Cipher)
	}
	return enciphers(t, a, "dm:inlinecrypt", key)
}

// parseInlineCryptLine is parseCryptLine for a line with the type of the key
// behind the key:
//
//	<cipher> <key> <type> <iv_offset> <dev> <start> [<count> <options>…]
//
// A key from a keyring stands in the line as well. Only the first 64 bytes of a
// key are printed (lib/vsprintf.c, hex_string), which wrapped keys may exceed.
func parseInlineCryptLine(params []byte) *Crypt {
	words := bytes.Split(params, []byte(" "))
	if len(words) < 6 || !validCipher(words[0]) || !isHex(words[1]) || len(words[1])%2 != 0 || !validPlace(words[3:]) {
		return nil
	}
	kind, ok := inlineKinds[string(words[2])]
	c := &Crypt{Cipher: string(words[0]), KeyKind: kind, KeyBytes: len(words[1]) / 2}
	if !ok || !c.readPlace(words[3:]) || !c.validInline() {
		return nil
	}
	if kind == keyRaw && c.KeyBytes == inlineKeyBytes {
		c.KeyDigest = keyDigest(words[1])
	}
	return c
}

// validInline tells whether all options are ones of dm-inlinecrypt, which has no
// blocks of several sectors whose vectors count single ones
// (inlinecrypt_ctr_optional).
func (c *Crypt) validInline() bool {
	known := 0
	for _, name := range inlineOptions {
		if c.hasOption(name) {
			known++
		}
	}
	return known == len(c.Options) && c.hasOption("sector_size") == c.hasOption("iv_large_sectors")
}
