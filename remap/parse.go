package remap

import (
	"fmt"
	"strconv"
	"strings"
)

// Widths of a device number in the kernel (include/linux/kdev_t.h, MINORBITS).
const (
	maxMajor = 1<<12 - 1
	maxMinor = 1<<20 - 1
)

// ParseDev reads "major:minor" in decimal, as dm tables and sysfs print it.
func ParseDev(s string) (Dev, error) {
	maj, min, ok := strings.Cut(s, ":")
	if !ok {
		return Dev{}, fmt.Errorf("remap: %q is not a device number: want MAJOR:MINOR", s)
	}
	major, err := parseUint(maj, maxMajor)
	if err != nil {
		return Dev{}, fmt.Errorf("remap: device number %q: major: %w", s, err)
	}
	minor, err := parseUint(min, maxMinor)
	if err != nil {
		return Dev{}, fmt.Errorf("remap: device number %q: minor: %w", s, err)
	}
	return Dev{Major: uint32(major), Minor: uint32(minor)}, nil
}

// ParseSector reads a decimal number of sectors below [MaxSectors].
func ParseSector(s string) (Sector, error) {
	n, err := parseUint(s, uint64(MaxSectors))
	return Sector(n), err
}

// parseUint is strict: digits only, no sign, no space, at most limit.
func parseUint(s string, limit uint64) (uint64, error) {
	if s == "" || s[0] < '0' || s[0] > '9' {
		return 0, fmt.Errorf("%q: %w", s, strconv.ErrSyntax)
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, err
	}
	if n > limit {
		return 0, fmt.Errorf("%q: %w", s, strconv.ErrRange)
	}
	return n, nil
}
