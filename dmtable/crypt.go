package dmtable

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

const typeCrypt = "crypt"

// Crypt is what a crypt line says without its key (drivers/md/dm-crypt.c):
//
//	<cipher> <key> <iv_offset> <dev> <start> [<count> <options>…]
//
// and an inlinecrypt line, which has one word more: [parseInlineCryptLine].
type Crypt struct {
	Cipher string `json:"cipher"`
	// KeyKind is "none", "raw" for a key that stands in the line, or the
	// keyring type "logon", "user", "encrypted" or "trusted"; for inlinecrypt
	// it is "raw" or "wrapped".
	KeyKind string `json:"key_kind"`
	// KeyBytes is the length of the key.
	KeyBytes int `json:"key_bytes"`
	// KeyDigest is equal for equal raw keys, as long as both lines were read
	// by the same process: [keyDigest]. It is empty where the line does not
	// prove which key is in use.
	KeyDigest string       `json:"key_digest,omitempty"`
	IVOffset  uint64       `json:"iv_offset"`
	Dev       remap.Dev    `json:"dev"`
	Start     remap.Sector `json:"start"`
	Options   []string     `json:"options,omitempty"`
}

// cryptLines read the lines of the types that have keys in them, in place.
var cryptLines = map[string]func(params []byte) *Crypt{
	typeCrypt:       parseCryptLine,
	typeInlineCrypt: parseInlineCryptLine,
}

// parseCrypt maps a crypt line. What lies below is ciphertext, in the same
// order (dm-crypt.c, crypt_map), unless the cipher is none.
func parseCrypt(t *Target, a *args) mapping {
	c := t.Crypt
	if c == nil {
		a.reject()
		return nil
	}
	spec, known := parseCipherSpec(c.Cipher)
	switch {
	case c.hasOption("integrity"):
		return a.opaque(t, "integrity") // tags belong to the sectors
	case strings.HasSuffix(c.Cipher, "-random"):
		return a.opaque(t, "random-iv") // the vectors are stored elsewhere
	case c.plain():
		a.devs = append(a.devs, c.Dev)
		return &plaintext{c.Dev, c.Start}
	}
	key := &remap.CipherKey{Anywhere: known && spec.anywhere()}
	if known && c.KeyDigest != "" {
		key.ID = c.identity("crypt", spec.String())
	}
	return enciphers(t, a, "dm:crypt", key)
}

// plaintext is a crypt line that does not encipher.
type plaintext struct {
	dev   remap.Dev
	start remap.Sector
}

func (m *plaintext) place(_ remap.Op, off, n remap.Sector) remap.Place {
	return data("dm:crypt", m.dev, m.start+off, n)
}

// plain tells whether what lies below is the plaintext: blocks in no order
// (ECB), each copied as it is (crypto/crypto_null.c). Modes that chain blocks
// change them even so.
func (c *Crypt) plain() bool {
	return c.KeyKind == keyNone && (c.Cipher == "cipher_null-ecb" || c.Cipher == "capi:ecb(cipher_null)")
}

// ciphertext is a line that enciphers each block at its position.
type ciphertext struct {
	layer string
	dev   remap.Dev
	start remap.Sector
	// ivOffset is the position of the first sector that initialization
	// vectors are made of, in sectors. It does not wrap within the line.
	ivOffset uint64
	key      *remap.CipherKey
}

func (m *ciphertext) place(_ remap.Op, off, n remap.Sector) remap.Place {
	return remap.Place{
		Len: n, Kind: remap.Cipher,
		Leg:    remap.Leg{Dev: m.dev, Start: m.start + off, Readable: true},
		Cipher: m.key,
		IV:     m.ivOffset + uint64(off),
		Layer:  m.layer,
	}
}

// enciphers maps a line of crypt or inlinecrypt whose blocks begin where the
// position is a multiple of their size. The kernel sees to it within a line
// (dm-crypt.c, crypt_ctr), but a line may begin inside of a block of the device,
// which is where bios are aligned to (crypt_map).
func enciphers(t *Target, a *args, layer string, key *remap.CipherKey) mapping {
	c := t.Crypt
	block, ok := c.block()
	switch {
	case !ok:
		a.reject()
		return nil
	case (uint64(t.Start|t.Len)|c.IVOffset)&uint64(block-1) != 0:
		return a.opaque(t, "alignment")
	case c.IVOffset > math.MaxUint64-uint64(t.Len):
		return a.opaque(t, "iv-offset") // sector_t wraps
	}
	key.Block = block
	a.devs = append(a.devs, c.Dev)
	return &ciphertext{layer, c.Dev, c.Start, c.IVOffset, key}
}

// identity is equal for lines that turn equal sectors at equal positions into
// equal ciphertext: the same cipher with the same options and the same key.
func (c *Crypt) identity(target, cipher string) string {
	block, _ := c.block()
	large := strconv.FormatBool(c.hasOption("iv_large_sectors"))
	override := strconv.FormatBool(c.hasOption(optionOverride))
	return strings.Join([]string{target, cipher, strconv.FormatInt(int64(block), 10), large, override, strconv.Itoa(c.KeyBytes), c.KeyDigest}, " ")
}

// block is the size of what is enciphered as one, in sectors. It reports false
// for sizes that the kernel refuses (crypt_ctr_optional).
func (c *Crypt) block() (remap.Sector, bool) {
	size, found := "512", false
	for _, option := range c.Options {
		if value, ok := strings.CutPrefix(option, "sector_size:"); ok {
			if found {
				return 0, false
			}
			size, found = value, true
		}
	}
	switch size {
	case "512":
		return 1, true
	case "1024":
		return 2, true
	case "2048":
		return 4, true
	case "4096":
		return 8, true
	}
	return 0, false
}

// hasOption tells whether an option is set, with or without a value.
func (c *Crypt) hasOption(name string) bool {
	return slices.ContainsFunc(c.Options, func(option string) bool {
		option, _, _ = strings.Cut(option, ":")
		return option == name
	})
}

// parseCryptLine reads a line in place. No byte of the key leaves it: words
// become strings only once they have passed as something harmless. It returns
// nil for a line that is not understood.
func parseCryptLine(params []byte) *Crypt {
	words := bytes.Split(params, []byte(" "))
	if len(words) < 5 || !validCipher(words[0]) {
		return nil
	}
	kind, size, ok := cryptKey(words[1])
	if !ok || !validPlace(words[2:]) {
		return nil
	}
	c := &Crypt{Cipher: string(words[0]), KeyKind: kind, KeyBytes: size}
	if !c.readPlace(words[2:]) {
		return nil
	}
	if kind == keyRaw {
		c.KeyDigest = keyDigest(words[1])
	}
	return c
}

// readPlace reads the words behind the key, of which it is known that they are
// numbers, a device and options.
func (c *Crypt) readPlace(words [][]byte) bool {
	var errs [3]error
	c.IVOffset, errs[0] = strconv.ParseUint(string(words[0]), 10, 64)
	c.Dev, errs[1] = remap.ParseDev(string(words[1]))
	c.Start, errs[2] = remap.ParseSector(string(words[2]))
	for _, option := range words[min(4, len(words)):] {
		c.Options = append(c.Options, string(option))
	}
	return errs == [3]error{}
}

// validPlace accepts the words behind the key.
func validPlace(words [][]byte) bool {
	return len(words) >= 3 && isNumber(words[0]) && isDev(words[1]) && isNumber(words[2]) && validOptions(words[3:])
}

// valid tells whether the line of a type can have been read as c.
func (c *Crypt) valid(typ string) bool {
	words := [][]byte{[]byte(strconv.Itoa(len(c.Options)))}
	for _, option := range c.Options {
		words = append(words, []byte(option))
	}
	return validCipher([]byte(c.Cipher)) && slices.Contains(keyKinds[typ], c.KeyKind) && c.KeyBytes >= 0 &&
		c.validDigest() && c.Start >= 0 && c.Start <= remap.MaxSectors && validOptions(words)
}

// validCipher accepts what crypto API names are made of, unless it could be a
// key.
func validCipher(word []byte) bool {
	const punctuation = "-:(),_+./"
	for _, c := range word {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c)) && strings.IndexByte(punctuation, c) < 0 {
			return false
		}
	}
	return len(word) > 0 && !isHex(word)
}

// cryptFlags are the options without a value (dm-crypt.c, crypt_status).
var cryptFlags = []string{
	"allow_discards", "same_cpu_crypt", "high_priority", "submit_from_crypt_cpus",
	"no_read_workqueue", "no_write_workqueue", "iv_large_sectors", optionOverride,
}

// validOptions accepts "<count> <options>…" with options that we know.
func validOptions(words [][]byte) bool {
	if len(words) == 0 {
		return true
	}
	if string(words[0]) != strconv.Itoa(len(words)-1) {
		return false
	}
	for _, word := range words[1:] {
		if !validOption(word) {
			return false
		}
	}
	return true
}

func validOption(word []byte) bool {
	name, value, valued := bytes.Cut(word, []byte(":"))
	if !valued {
		return slices.ContainsFunc(cryptFlags, func(flag string) bool { return flag == string(name) })
	}
	switch string(name) {
	case "sector_size", "integrity_key_size":
		return isNumber(value)
	case "integrity":
		tag, mode, _ := bytes.Cut(value, []byte(":"))
		return isNumber(tag) && (string(mode) == "none" || string(mode) == "aead")
	}
	return false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isNumber accepts the digits of an unsigned number of 64 bits.
func isNumber(word []byte) bool {
	for _, c := range word {
		if !isDigit(c) {
			return false
		}
	}
	return 0 < len(word) && len(word) <= len("18446744073709551615")
}

func isDev(word []byte) bool {
	major, minor, _ := bytes.Cut(word, []byte(":"))
	return isNumber(major) && isNumber(minor)
}

func isHex(word []byte) bool {
	for _, c := range word {
		if !isDigit(c) && !('a' <= c && c <= 'f') && !('A' <= c && c <= 'F') {
			return false
		}
	}
	return len(word) > 0
}
