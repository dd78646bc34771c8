package superblock_test

import (
	"fmt"
	"testing"

	"github.com/dmcopy/dmcopy/internal/superblock"
)

// A patch is what a test puts at an offset.
type patch map[int]string

func (p patch) image() []byte {
	b := make([]byte, superblock.Length)
	for at, text := range p {
		copy(b[at:], text)
	}
	return b
}

const (
	raw  = "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"
	text = "01020304-0506-0708-090a-0b0c0d0e0f10"
)

// That these are what the tools make, and blkid prints, is proven in a guest.
func TestFind(t *testing.T) {
	for name, c := range map[string]struct {
		p    patch
		want string
	}{
		"nothing":            {patch{}, "[]"},
		"ext4":               {patch{1080: "\x53\xef", 1128: raw}, "[{ext " + text + "}]"},
		"xfs":                {patch{0: "XFSB", 32: raw}, "[{xfs " + text + "}]"},
		"btrfs":              {patch{65568: raw, 65600: "_BHRfS_M"}, "[{btrfs " + text + "}]"},
		"swap":               {patch{1036: raw, 4086: "SWAPSPACE2"}, "[{swap " + text + "}]"},
		"swap of 64K pages":  {patch{1036: raw, 65526: "SWAPSPACE2"}, "[{swap " + text + "}]"},
		"luks":               {patch{0: "LUKS\xba\xbe\x00\x02", 168: text + "\x00rest"}, "[{crypto_LUKS " + text + "}]"},
		"pv":                 {patch{512: "LABELONE\x01\x00\x00\x00\x00\x00\x00\x00\xaa\xbb\xcc\xdd\x20\x00\x00\x00LVM2 001", 544: "abcdef1234567890abcdef1234567890"}, "[{LVM2_member abcdef-1234-5678-90ab-cdef-1234-567890}]"},
		"pv in sector 3":     {patch{1536: "LABELONE\x01\x00\x00\x00\x00\x00\x00\x00\xaa\xbb\xcc\xdd\x20\x00\x00\x00LVM2 001", 1568: "abcdef1234567890abcdef1234567890"}, "[{LVM2_member abcdef-1234-5678-90ab-cdef-1234-567890}]"},
		"label of no pv":     {patch{512: "LABELONE", 536: "LVM1 001"}, "[]"},
		"md 1.2":             {patch{4096: "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", 4112: raw}, "[{linux_raid_member " + text + "}]"},
		"md 1.1":             {patch{0: "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", 16: raw}, "[{linux_raid_member " + text + "}]"},
		"fat32":              {patch{82: "FAT32   ", 67: "\x78\x56\x34\x12", 510: "\x55\xaa"}, "[{vfat 1234-5678}]"},
		"fat16":              {patch{54: "FAT16   ", 39: "\x78\x56\x34\x12", 510: "\x55\xaa"}, "[{vfat 1234-5678}]"},
		"fat without ending": {patch{54: "FAT16   ", 39: "\x78\x56\x34\x12"}, "[]"},
		"ntfs":               {patch{3: "NTFS    ", 72: "\x08\x07\x06\x05\x04\x03\x02\x01"}, "[{ntfs 0102030405060708}]"},
		"gpt":                {patch{512: "EFI PART", 568: "\x04\x03\x02\x01\x06\x05\x08\x07\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"}, "[{gpt " + text + "}]"},
		"gpt of 4K blocks":   {patch{4096: "EFI PART", 4152: "\x04\x03\x02\x01\x06\x05\x08\x07\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"}, "[{gpt " + text + "}]"},
	} {
		if got := fmt.Sprint(superblock.Find(c.p.image())); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Whatever a device holds, and however short it is, looking at it does no harm.
func FuzzFind(f *testing.F) {
	f.Add([]byte("LUKS\xba\xbe"))
	f.Add([]byte("LABELONE\x01\x00\x00\x00\x00\x00\x00\x00\xaa\xbb\xcc\xdd\xff\xff\x00\x00LVM2 001"))
	f.Fuzz(func(t *testing.T, p []byte) { superblock.Find(p) })
}
