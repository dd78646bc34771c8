package resolver

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// Ciphers, with and without tools.
var cryptKinds = []kind{
	{name: "crypt/table", needs: []string{"crypt"}, trials: 6, build: buildCrypt},
	{name: "crypt/null", needs: []string{"crypt"}, trials: 2, build: buildCryptNull},
	{name: "crypt/luks", needs: []string{"crypt"}, trials: 2, build: buildLUKS},
	{name: "crypt/plain", needs: []string{"crypt"}, build: buildCryptPlain},
	{name: "crypt/stacked", needs: []string{"crypt"}, build: buildCryptStacked},
}

// crypt makes a mapped device that enciphers, somewhere unless a place is given.
func (b *bench) crypt(name, key string, n remap.Sector, lower string) string {
	block := pick(b, remap.Sector(1), 1, 2, 4, 8)
	if lower == "" {
		b.align = max(b.align, block)
		lower = b.place(n)
	}
	options := []string{fmt.Sprintf("sector_size:%d", block.Bytes())}
	if b.IntN(2) == 0 && block > 1 {
		options = append(options, "iv_large_sectors")
	}
	for _, o := range []string{"allow_discards", "same_cpu_crypt", "submit_from_crypt_cpus", "no_read_workqueue", "no_write_workqueue"} {
		if b.IntN(4) == 0 {
			options = append(options, o)
		}
	}
	line := fmt.Sprintf("0 %d crypt %s %s %d %s %d", n, name, key, 8*b.IntN(1000), lower, len(options))
	for _, o := range options {
		line += " " + o
	}
	return b.mapped(line)
}

// key is a key of n bytes, in hex.
func (b *bench) key(n int) string {
	key := make([]byte, n)
	for i := range key {
		key[i] = byte(b.Uint32())
	}
	return hex.EncodeToString(key)
}

func buildCrypt(b *bench) []*subject {
	b.sometimesBigBlocks()
	n := b.between(1000, 4000, 8)
	cipherOf := pick(b, "aes-xts-plain64", "aes-xts-plain", "aes-cbc-essiv:sha256", "aes-cbc-plain64be", "aes-ecb", "capi:xts(aes)-plain64")
	path := b.crypt(cipherOf, b.key(32), n, "")
	b.fill(path)
	return []*subject{{path: path, name: cipherOf, read: cipher, write: cipher, followed: true}}
}

// buildCryptNull enciphers with the cipher that changes nothing: it shows where
// sectors are.
func buildCryptNull(b *bench) []*subject {
	n := b.between(1000, 4000, 8)
	path := b.crypt("cipher_null-ecb", "-", n, "")
	b.fill(path)
	return []*subject{{path: path, read: inPlace, write: inPlace, followed: true}}
}

func (b *bench) keyFile() string {
	path := filepath.Join(b.TempDir(), "key")
	if err := os.WriteFile(path, []byte(b.key(16)), 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

func buildLUKS(b *bench) []*subject {
	lower, key, name := b.part(b.take(b.between(8000, 12000, 8))), b.keyFile(), b.newName()
	args := []string{"luksFormat", "--batch-mode", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}
	if b.IntN(2) == 0 {
		args = append(args, "--type", "luks1", "--align-payload", fmt.Sprint(4096+8*b.IntN(100)))
	} else {
		args = append(args, "--type", "luks2", "--luks2-metadata-size", "16k", "--luks2-keyslots-size", "256k",
			"--offset", fmt.Sprint(1024+8*b.IntN(100)), "--sector-size", pick(b, "512", "4096"))
	}
	vm.Run(b, "cryptsetup", append(args, lower, key)...)
	vm.Run(b, "cryptsetup", "open", "--key-file", key, lower, name)
	vm.Unmap(b, name)
	b.fill("/dev/mapper/" + name)
	return []*subject{{path: "/dev/mapper/" + name, read: cipher, write: cipher, followed: true}}
}

func buildCryptPlain(b *bench) []*subject {
	lower, name := b.part(b.take(b.between(2000, 4000, 8))), b.newName()
	vm.Run(b, "cryptsetup", "open", "--type", "plain", "--batch-mode", "--cipher", "aes-xts-plain64", "--key-size", "256", "--key-file", b.keyFile32(),
		"--offset", fmt.Sprint(b.upTo(500, 1)), "--skip", fmt.Sprint(b.upTo(500, 1)), lower, name)
	vm.Unmap(b, name)
	b.fill("/dev/mapper/" + name)
	return []*subject{{path: "/dev/mapper/" + name, read: cipher, write: cipher, followed: true}}
}

// keyFile32 is a key for plain mode, which takes the bytes as they are.
func (b *bench) keyFile32() string {
	path := filepath.Join(b.TempDir(), "key")
	if err := os.WriteFile(path, []byte(b.key(32))[:32], 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

// buildCryptStacked enciphers in pieces, on stripes, below segments.
func buildCryptStacked(b *bench) []*subject {
	line, n := b.striped(0)
	n = n / 8 * 8
	lower := b.crypt("aes-xts-plain64", b.key(64), n, b.mapped(line)+" 0")
	cut := b.upTo(n-8, 8)
	path := b.mapped(fmt.Sprintf("0 %d linear %s %d", n-cut, lower, cut), fmt.Sprintf("%d %d linear %s 0", n-cut, cut, lower))
	b.fill(path)
	return []*subject{{path: path, read: cipher, write: cipher}}
}
