package dmtable

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

const typeCrypt = "crypt"

// Crypt is what a crypt line says without its key (drivers/md/dm-crypt.c):
//
//	<cipher> <key> <iv_offset> <dev> <start> [<count> <options>…]
type Crypt struct {
	Cipher string `json:"cipher"`
	// KeyKind is "none", "raw" for a key that stands in the line, or the
	// keyring type "logon", "user", "encrypted" or "trusted".
	KeyKind string `json:"key_kind"`
	// KeyBytes is the length of the key.
	KeyBytes int          `json:"key_bytes"`
	IVOffset uint64       `json:"iv_offset"`
	Dev      remap.Dev    `json:"dev"`
	Start    remap.Sector `json:"start"`
	Options  []string     `json:"options,omitempty"`
}

// parseCrypt makes crypt lines opaque: what lies below is ciphertext.
func parseCrypt(t *Target, a *args) mapping {
	if t.Crypt == nil {
		a.reject()
		return nil
	}
	a.devs = append(a.devs, t.Crypt.Dev)
	return cryptMapping
}

var cryptMapping = &opaque{layer: "dm:crypt", reason: "layer:crypt"}

// parseCryptLine reads a line in place. No byte of the key leaves it: words
// become strings only once they have passed as something harmless. It returns
// nil for a line that is not understood.
func parseCryptLine(params []byte) *Crypt {
	words := bytes.Split(params, []byte(" "))
	if len(words) < 5 || !validCipher(words[0]) {
		return nil
	}
	kind, size, ok := cryptKey(words[1])
	if !ok || !isNumber(words[2]) || !isDev(words[3]) || !isNumber(words[4]) || !validOptions(words[5:]) {
		return nil
	}
	c := &Crypt{Cipher: string(words[0]), KeyKind: kind, KeyBytes: size}
	var errs [3]error
	c.IVOffset, errs[0] = strconv.ParseUint(string(words[2]), 10, 64)
	c.Dev, errs[1] = remap.ParseDev(string(words[3]))
	c.Start, errs[2] = remap.ParseSector(string(words[4]))
	if errs != [3]error{} {
		return nil
	}
	for _, option := range words[min(6, len(words)):] {
		c.Options = append(c.Options, string(option))
	}
	return c
}

// valid tells whether parseCryptLine can have made c.
func (c *Crypt) valid() bool {
	words := [][]byte{[]byte(strconv.Itoa(len(c.Options)))}
	for _, option := range c.Options {
		words = append(words, []byte(option))
	}
	return validCipher([]byte(c.Cipher)) && slices.Contains(keyKinds, c.KeyKind) && c.KeyBytes >= 0 &&
		c.Start >= 0 && c.Start <= remap.MaxSectors && validOptions(words)
}

const (
	keyNone = "none"
	keyRaw  = "raw"
)

// keyKinds are the kinds of keys: the last four are types of the kernel's
// keyrings (dm-crypt.c, crypt_set_keyring_key).
var keyKinds = []string{keyNone, keyRaw, "logon", "user", "encrypted", "trusted"}

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
	for _, kind := range keyKinds[2:] {
		if string(parts[1]) == kind {
			return kind, size, true
		}
	}
	return "", 0, false
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
	"no_read_workqueue", "no_write_workqueue", "iv_large_sectors",
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
