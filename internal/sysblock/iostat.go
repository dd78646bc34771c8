package sysblock

import (
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// IOStat counts the reads and writes that a device has completed, and for how long
// they were under way altogether (Documentation/block/stat.rst). What programs send
// to the device past the block layer, such as copy commands, is not among them.
type IOStat struct {
	Reads, Writes uint64
	// ReadTicks and WriteTicks are milliseconds, modulo 2^32
	// (block/genhd.c, part_stat_show).
	ReadTicks, WriteTicks uint32
	// Written is how many sectors were written or discarded. A flush is none, although some
	// devices count it as a write.
	Written uint64
}

// Since is what came since an earlier time.
func (s IOStat) Since(before IOStat) (ios uint64, underWay time.Duration) {
	ios = s.Reads - before.Reads + s.Writes - before.Writes
	ticks := uint64(s.ReadTicks-before.ReadTicks) + uint64(s.WriteTicks-before.WriteTicks)
	return ios, time.Duration(ticks) * time.Millisecond
}

// IOStat reads the counters of a device.
func (f FS) IOStat(dev remap.Dev) (IOStat, error) {
	path := f.Root().Block(dev).Path("stat")
	text, err := os.ReadFile(path)
	if sysfs.Vanished(err) {
		return IOStat{}, sysfs.About(dev.String(), ErrGone)
	}
	if err != nil {
		return IOStat{}, sysfs.About(path, err)
	}
	s, ok := parseIOStat(string(text))
	if !ok {
		return IOStat{}, sysfs.BadValue(path, string(text), "counters of I/O")
	}
	return s, nil
}

// parseIOStat reads a line of 11 numbers, 15 with discards (Linux 4.18), 17 with
// flushes (Linux 5.5). Reads are the first four of them, writes the next four, and
// the last of each four is the time.
func parseIOStat(line string) (s IOStat, ok bool) {
	words := strings.Fields(line)
	if len(words) != 11 && len(words) != 15 && len(words) != 17 {
		return s, false
	}
	numbers := make([]uint64, len(words))
	for i, word := range words {
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			return s, false
		}
		numbers[i] = n
	}
	s = IOStat{Reads: numbers[0], Writes: numbers[4], ReadTicks: uint32(numbers[3]), WriteTicks: uint32(numbers[7]), Written: numbers[6]}
	if len(numbers) > 11 {
		s.Written += numbers[13]
	}
	return s, true
}
