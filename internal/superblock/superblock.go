// Package superblock tells what lies on a device by its first bytes, as far as it has a
// UUID: a copy has the same one.
package superblock

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// Length is how many bytes of the beginning of a device are looked at.
const Length = 128 << 10

// A Kind is something that has a UUID.
type Kind string

// The kinds that are known, as blkid(8) calls them.
const (
	Ext   Kind = "ext"
	XFS   Kind = "xfs"
	Btrfs Kind = "btrfs"
	Swap  Kind = "swap"
	LUKS  Kind = "crypto_LUKS"
	LVM   Kind = "LVM2_member"
	MD    Kind = "linux_raid_member"
	GPT   Kind = "gpt"
	FAT   Kind = "vfat"
	NTFS  Kind = "ntfs"
)

// Found is something with its UUID, in the form that blkid(8) prints.
type Found struct {
	Kind Kind
	UUID string
}

// Find tells what is there. What begins later than in the beginning, or is shorter, is
// not there.
func Find(beginning []byte) []Found {
	p := image(beginning)
	var all []Found
	for _, look := range []func(image) (Found, bool){luks, lvm, md, ext, xfs, btrfs, swap, fat, ntfs, gpt} {
		if found, ok := look(p); ok {
			all = append(all, found)
		}
	}
	return all
}

// image is the beginning of a device.
type image []byte

// at returns n bytes at an offset, zeroes where there are none.
func (p image) at(off, n int) []byte {
	field := make([]byte, n)
	if off < len(p) {
		copy(field, p[off:])
	}
	return field
}

func (p image) has(off int, magic string) bool { return string(p.at(off, len(magic))) == magic }

// uuid prints 16 bytes in their order.
func uuid(b []byte) string {
	s := hex.EncodeToString(b)
	return strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-")
}

// luks has its uuid as text, at one place in both versions (cryptsetup,
// docs/on-disk-format-luks2.pdf, 2.1).
func luks(p image) (Found, bool) {
	text, _, _ := bytes.Cut(p.at(168, 40), []byte{0})
	return Found{LUKS, string(text)}, p.has(0, "LUKS\xba\xbe")
}

// lvm has a label in one of the first four sectors, and behind it a header that begins
// with the uuid (lib/label/label.h and lib/format_text/layout.h of lvm2).
func lvm(p image) (Found, bool) {
	for sector := range 4 {
		at := sector * 512
		if !p.has(at, "LABELONE") || !p.has(at+24, "LVM2 001") {
			continue
		}
		header := at + int(binary.LittleEndian.Uint16(p.at(at+20, 2))) // of 32 bits: it lies in the sector
		id := string(p.at(header, 32))
		return Found{LVM, strings.Join([]string{id[:6], id[6:10], id[10:14], id[14:18], id[18:22], id[22:26], id[26:]}, "-")}, true
	}
	return Found{}, false
}

// md of versions 1.1 and 1.2 (include/uapi/linux/raid/md_p.h, struct mdp_superblock_1).
func md(p image) (Found, bool) {
	for _, at := range []int{0, 4096} {
		if p.has(at, "\xfc\x4e\x2b\xa9") && p.has(at+4, "\x01\x00\x00\x00") {
			return Found{MD, uuid(p.at(at+16, 16))}, true
		}
	}
	return Found{}, false
}

// ext2, 3 and 4 (fs/ext4/ext4.h, struct ext4_super_block, at 1024).
func ext(p image) (Found, bool) {
	return Found{Ext, uuid(p.at(1024+0x68, 16))}, p.has(1024+0x38, "\x53\xef")
}

// xfs (fs/xfs/libxfs/xfs_format.h, struct xfs_dsb).
func xfs(p image) (Found, bool) { return Found{XFS, uuid(p.at(32, 16))}, p.has(0, "XFSB") }

// btrfs (fs/btrfs/accessors.h; include/uapi/linux/btrfs_tree.h, struct
// btrfs_super_block, at BTRFS_SUPER_INFO_OFFSET).
func btrfs(p image) (Found, bool) {
	const at = 64 << 10
	return Found{Btrfs, uuid(p.at(at+0x20, 16))}, p.has(at+0x40, "_BHRfS_M")
}

// swap has its magic at the end of the first page (include/linux/swap.h, union
// swap_header).
func swap(p image) (Found, bool) {
	for _, page := range []int{4 << 10, 16 << 10, 64 << 10} {
		if p.has(page-10, "SWAPSPACE2") {
			return Found{Swap, uuid(p.at(1024+12, 16))}, true
		}
	}
	return Found{}, false
}

// fat has a serial number instead (include/uapi/linux/msdos_fs.h, struct
// fat_boot_sector).
func fat(p image) (Found, bool) {
	if !p.has(510, "\x55\xaa") {
		return Found{}, false
	}
	for _, place := range []struct {
		name   string
		at, id int
	}{{"FAT32   ", 82, 67}, {"FAT16   ", 54, 39}, {"FAT12   ", 54, 39}} {
		if p.has(place.at, place.name) {
			id := binary.LittleEndian.Uint32(p.at(place.id, 4))
			return Found{FAT, fmt.Sprintf("%04X-%04X", id>>16, id&0xffff)}, true
		}
	}
	return Found{}, false
}

// ntfs has one, too (fs/ntfs3/ntfs.h, struct NTFS_BOOT).
func ntfs(p image) (Found, bool) {
	return Found{NTFS, fmt.Sprintf("%016X", binary.LittleEndian.Uint64(p.at(72, 8)))}, p.has(3, "NTFS    ")
}

// gpt lies in the second block (block/partitions/efi.h, struct gpt_header). Of its uuid,
// the first three numbers are little-endian (include/linux/uuid.h, guid_t).
func gpt(p image) (Found, bool) {
	for _, block := range []int{512, 4096} {
		if p.has(block, "EFI PART") {
			b := p.at(block+56, 16)
			for _, n := range [][2]int{{0, 4}, {4, 6}, {6, 8}} {
				for i, j := n[0], n[1]-1; i < j; i, j = i+1, j-1 {
					b[i], b[j] = b[j], b[i]
				}
			}
			return Found{GPT, uuid(b)}, true
		}
	}
	return Found{}, false
}
