package layercopies

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dmcopy/dmcopy/test/vm"
)

// vault is an encrypted volume.
type vault struct {
	*bench
	lower string
	key   string // file
	name  string // of the open device, "" if it is closed
	path  string // of the open device
}

// pbkdf makes keys of pass phrases in no time.
var pbkdf = []string{"--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"}

// luksHeader is room for the header of a volume.
const luksHeader = 4 * mib

// vault formats a device.
func (b *bench) vault(lower string, block int) *vault {
	b.Helper()
	v := &vault{bench: b, lower: lower, key: filepath.Join(b.TempDir(), "key")}
	b.must("key", os.WriteFile(v.key, []byte("a secret of no use"), 0o600))
	vm.Run(b, "cryptsetup", append([]string{"luksFormat", "--batch-mode", "--type=luks2", "--luks2-metadata-size=16k", "--luks2-keyslots-size=1m",
		fmt.Sprintf("--offset=%d", sectors(luksHeader)), fmt.Sprintf("--sector-size=%d", block), lower, v.key}, pbkdf...)...)
	return v
}

// open opens the volume; with --disable-keyring the key stands in the table.
func (v *vault) open(options ...string) *vault {
	v.Helper()
	v.name = v.newName()
	vm.Run(v, "cryptsetup", append([]string{"open", "--key-file=" + v.key, v.lower, v.name}, options...)...)
	v.path = "/dev/mapper/" + v.name
	name := v.name
	v.Cleanup(func() {
		if v.name == name {
			v.close()
		}
	})
	return v
}

func (v *vault) close() {
	v.Helper()
	vm.Run(v, "dmsetup", "remove", "--retry", v.name)
	v.name = ""
}

// clone makes a volume with the same header, and so with the same key.
func (v *vault) clone(lower string) *vault {
	v.Helper()
	file := filepath.Join(v.TempDir(), "header")
	vm.Run(v, "cryptsetup", "luksHeaderBackup", v.lower, "--header-backup-file="+file)
	vm.Run(v, "cryptsetup", "luksHeaderRestore", "--batch-mode", lower, "--header-backup-file="+file)
	return &vault{bench: v.bench, lower: lower, key: v.key}
}

// reencrypt gives the volume another key, and leaves all names as they are.
func (v *vault) reencrypt() {
	v.Helper()
	vm.Run(v, "cryptsetup", append([]string{"reencrypt", "--batch-mode", "--resilience=none", "--key-file=" + v.key, v.lower}, pbkdf...)...)
}

// reopened compares the volume with what it has to hold, once it was closed.
func (v *vault) reopened() {
	v.Helper()
	want := v.read(v.path, 0, v.size(v.path))
	v.close()
	v.open()
	v.same("volume that was opened again", v.path, v.read(v.path, 0, int64(len(want))), want)
}

// inTable keeps keys in tables, where they can be compared.
const inTable = "--disable-keyring"

// lukses are pairs of volumes, and what becomes of a copy at equal offsets
// between them.
var lukses = []struct {
	name  string
	build func(b *bench, block int) (src, dst *vault)
	shift int64
	want  *outcome
}{
	{"clone", func(b *bench, block int) (src, dst *vault) {
		src = b.vault(b.part(volumeSize), block)
		return src.open(inTable), src.clone(b.part(volumeSize)).open(inTable)
	}, 0, raw},
	{"clone, shifted", func(b *bench, block int) (src, dst *vault) {
		src = b.vault(b.part(volumeSize), block)
		return src.open(inTable), src.clone(b.part(volumeSize)).open(inTable)
	}, 4 * kib, host("layer:crypt")},
	{"clone, keys in the keyring", func(b *bench, block int) (src, dst *vault) {
		src = b.vault(b.part(volumeSize), block)
		src, dst = src.open(), src.clone(b.part(volumeSize)).open()
		if one, other := src.description(), dst.description(); one != other {
			b.Fatalf("keys %s and %s", one, other)
		}
		return src, dst
	}, 0, host("layer:crypt")},
	{"another key", func(b *bench, block int) (src, dst *vault) {
		return b.vault(b.part(volumeSize), block).open(inTable), b.vault(b.part(volumeSize), block).open(inTable)
	}, 0, host("layer:crypt")},
	{"clone, encrypted again", func(b *bench, block int) (src, dst *vault) {
		src = b.vault(b.part(volumeSize), block)
		dst = src.clone(b.part(volumeSize))
		dst.reencrypt()
		return src.open(inTable), dst.open(inTable)
	}, 0, host("layer:crypt")},
	{"clone, encrypted again, same description", func(b *bench, block int) (src, dst *vault) {
		// The first key is digest 0, the next one 1, and the one after that 0 again.
		src = b.vault(b.part(volumeSize), block)
		dst = src.clone(b.part(volumeSize))
		dst.reencrypt()
		dst.reencrypt()
		src, dst = src.open(), dst.open()
		if one, other := src.description(), dst.description(); one != other {
			b.Fatalf("keys %s and %s", one, other)
		}
		return src, dst
	}, 0, host("layer:crypt")},
}

// description names the key of an open volume in the kernel's keyring: word 5 of
// its table.
func (v *vault) description() string {
	v.Helper()
	return strings.Fields(vm.Run(v, "dmsetup", "table", v.name))[4]
}

// TestLUKSVolumes: ciphertext is moved between clones, and nowhere else.
func TestLUKSVolumes(t *testing.T) {
	blocks := []int{4096, 512}
	if testing.Short() {
		blocks = blocks[:1]
	}
	for _, block := range blocks {
		for _, c := range lukses {
			t.Run(fmt.Sprintf("%s/%d", c.name, block), func(t *testing.T) {
				b := newBench(t)
				src, dst := c.build(b, block)
				b.fill(src.path)
				b.fill(dst.path)
				size := b.size(src.path)
				b.run(transfer{src: src.path, dst: dst.path, srcAt: margin, dstAt: margin + c.shift, length: size - 2*margin, want: c.want})
				if c.want.share == allRaw {
					b.cipherFS(src, dst)
				}
				dst.reopened()
			})
		}
	}
}

// cipherFS copies a file system, and has it checked at the other end.
func (b *bench) cipherFS(src, dst *vault) {
	b.Helper()
	vm.Run(b, "mkfs.ext4", "-q", "-F", "-d", "/usr/lib/udev/rules.d", src.path)
	b.run(transfer{src: src.path, dst: dst.path, length: b.size(src.path), want: raw})
	vm.Run(b, "e2fsck", "-f", "-n", dst.path)
}

// TestSectorSizes: equal keys in blocks of unequal size are not the same cipher.
func TestSectorSizes(t *testing.T) {
	b := newBench(t)
	src, dst := b.crypt(b.part(volumeSize), 512), b.crypt(b.part(volumeSize), 4096)
	b.fill(src)
	b.fill(dst)
	b.run(transfer{src: src, dst: dst, length: volumeSize, want: host("layer:crypt")})
	encrypted := b.crypt(b.part(volumeSize), 512)
	b.run(transfer{src: src, dst: encrypted, length: volumeSize, want: raw})
}
