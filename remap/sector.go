package remap

import "fmt"

// SectorSize is the unit of every position and length in this package, in
// bytes. The kernel uses it for all block devices, 4Kn disks included
// (include/linux/blk_types.h, SECTOR_SIZE).
const SectorSize = 512

// MaxSectors bounds devices and positions: a byte offset has to fit into the
// kernel's signed 64-bit loff_t, so sectors end at 2^54.
const MaxSectors = Sector(1) << 54

// Sector is a position or a length in units of 512 bytes. It is signed so
// that differences are safe to compute; negative values are never valid.
type Sector int64

// Bytes returns the position or length in bytes.
func (s Sector) Bytes() int64 { return int64(s) * SectorSize }

// Sectors returns how many whole sectors a position or length in bytes has.
func Sectors(bytes int64) Sector { return Sector(bytes / SectorSize) }

// Dev names a block device by its device number.
type Dev struct {
	Major, Minor uint32
}

// String formats the number the way the kernel does, "259:0".
func (d Dev) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// IsZero tells whether d names no device.
func (d Dev) IsZero() bool { return d == Dev{} }

// MarshalText writes "major:minor", so that devices can be keys in JSON.
func (d Dev) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads "major:minor".
func (d *Dev) UnmarshalText(text []byte) error {
	parsed, err := ParseDev(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// Range is a run of sectors on one device.
type Range struct {
	Dev   Dev
	Start Sector
	Len   Sector
}

// End returns the first sector behind the range.
func (r Range) End() Sector { return r.Start + r.Len }

func (r Range) String() string {
	return fmt.Sprintf("%s[%d,+%d)", r.Dev, r.Start, r.Len)
}
