package vm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A Remap is one event of the tracepoint block:block_bio_remap: the kernel hands a bio from one device down to the next
// (device-mapper targets, md personalities, partitions). See include/trace/events/block.h.
type Remap struct {
	Dev        string // "major:minor" of the lower device
	Sector     uint64 // 512-byte sector on it
	Len        uint64 // sectors; flushes and other bios without data have 0
	FromDev    string // "major:minor" of the upper device
	FromSector uint64
	RWBS       string // the kernel's letters: R read, W write, D discard, F flush, S sync, M metadata
	TID        int    // thread of the submitter, which is a kernel worker where a target queues
}

// TraceRemap runs f and returns all remaps of the whole guest meanwhile, in the kernel's order for each CPU. Bios of others
// are among them (udev reads a device each time that a writer has closed it): select by device and thread. A lost event ends the test.
func TraceRemap(t testing.TB, f func()) []Remap {
	t.Helper()
	remaps, err := traceRemap(f)
	if err != nil {
		t.Fatal(err)
	}
	return remaps
}

func traceRemap(f func()) ([]Remap, error) {
	// An instance of our own: nobody else reads, fills or switches it.
	dir, err := os.MkdirTemp("/sys/kernel/tracing/instances", "dmcopy-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(dir)
	write := func(name, value string) error { return os.WriteFile(filepath.Join(dir, name), []byte(value), 0) }
	// 16 MiB for each CPU is room for some 300,000 events.
	if err := write("buffer_size_kb", "16384"); err != nil {
		return nil, err
	}
	const enable = "events/block/block_bio_remap/enable"
	if err := write(enable, "1"); err != nil {
		return nil, err
	}
	f()
	if err := write(enable, "0"); err != nil {
		return nil, err
	}
	if err := checkLost(dir); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "trace"))
	if err != nil {
		return nil, err
	}
	return parseRemaps(text)
}

// checkLost reads the ring buffers' own account of what they had no room for.
func checkLost(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "per_cpu/cpu*/stats"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("%s: no per-CPU statistics", dir)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if (name == "overrun" || name == "commit overrun" || name == "dropped events") && value != "0" {
				return fmt.Errorf("trace buffer of %s: %s %s events; trace less at once", filepath.Base(filepath.Dir(file)), name, value)
			}
		}
	}
	return nil
}

// A line of the trace file; the command in front of the thread may hold any character.
//
//	dd-312     [001] .....    21.034567: block_bio_remap: 259,1 RS 4096 + 8 <- (254,0) 2048
var remapPattern = regexp.MustCompile(`-(\d+) +\[\d+\] \S+ +[\d.]+: block_bio_remap: (\d+),(\d+) (\S*) (\d+) \+ (\d+) <- \((\d+),(\d+)\) (\d+)$`)

func parseRemaps(text []byte) ([]Remap, error) {
	var remaps []Remap
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, "\n")
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		m := remapPattern.FindSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("trace: cannot read line %q", line)
		}
		tid, err := strconv.Atoi(string(m[1]))
		if err != nil {
			return nil, fmt.Errorf("trace: line %q: %w", line, err)
		}
		r := Remap{TID: tid, Dev: string(m[2]) + ":" + string(m[3]), RWBS: string(m[4]), FromDev: string(m[7]) + ":" + string(m[8])}
		for field, to := range map[int]*uint64{5: &r.Sector, 6: &r.Len, 9: &r.FromSector} {
			if *to, err = strconv.ParseUint(string(m[field]), 10, 64); err != nil {
				return nil, fmt.Errorf("trace: line %q: %w", line, err)
			}
		}
		remaps = append(remaps, r)
	}
	return remaps, nil
}

// DeviceNumber returns "major:minor" of a block device, as in [Remap].
func DeviceNumber(device string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return "", &os.PathError{Op: "stat", Path: device, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("%s is no block device", device)
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)), nil
}
