package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/journal"
)

// rangeForm is what a range looks like, for messages and help.
const rangeForm = "SRC:DST:LENGTH, each " + sizeForms + "; an offset that is left out is where the range before it ended; a length of 0, or none, is the rest of the source"

// parseRange reads one range in any form of copyfilerange(1) of util-linux: each of the
// three may be left out.
func parseRange(s string) (byterange.Range, error) {
	fields := strings.Split(s, ":")
	if len(fields) != 3 {
		return byterange.Range{}, fmt.Errorf("%q is not a range: want %s", s, rangeForm)
	}
	values := [3]int64{byterange.Follow, byterange.Follow, 0}
	for i, field := range fields {
		if field == "" {
			continue
		}
		var err error
		if values[i], err = parseSize(field); err != nil {
			return byterange.Range{}, fmt.Errorf("range %q: %w", s, err)
		}
	}
	return byterange.Range{Src: values[0], Dst: values[1], Len: values[2]}, nil
}

// Bounds of a list of ranges, which is kept in memory: an endless one is a mistake.
const (
	maxRanges     = 1 << 24
	maxRangeBytes = 1 << 30 // comments included
	maxRangeText  = 256
)

// readRanges reads one range a line. Empty lines and what follows a # are
// skipped. A list without any range is an error: no ranges would mean the
// whole device.
func readRanges(r io.Reader, name string) ([]byterange.Range, error) {
	return readRangesWithin(r, name, maxRanges, maxRangeBytes)
}

func readRangesWithin(r io.Reader, name string, most int, bytes int64) ([]byterange.Range, error) {
	var ranges []byterange.Range
	all := &io.LimitedReader{R: r, N: bytes + 1}
	lines := bufio.NewScanner(all)
	number := 0
	for lines.Scan() {
		number++
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if len(text) > maxRangeText {
			return nil, usage("%s, line %d: too long to be a range: want %s", name, number, rangeForm)
		}
		parsed, err := parseRange(text)
		if err != nil {
			return nil, usage("%s, line %d: %v", name, number, err)
		}
		if len(ranges) == most {
			return nil, usage("%s holds more than %d ranges", name, most)
		}
		ranges = append(ranges, parsed)
	}
	switch err := lines.Err(); {
	case all.N <= 0:
		return nil, usage("%s is longer than %d bytes", name, bytes)
	case errors.Is(err, bufio.ErrTooLong):
		return nil, usage("%s, line %d: too long to be a range: want %s", name, number+1, rangeForm)
	case err != nil:
		return nil, usage("%s cannot be read: %v", name, err)
	case len(ranges) == 0:
		return nil, usage("%s holds no ranges: leave --ranges out to copy the whole source", name)
	}
	return ranges, nil
}

// rangeList is the flag --range, which may be given more than once.
type rangeList []byterange.Range

// Set implements pflag.Value.
func (l *rangeList) Set(s string) error {
	r, err := parseRange(s)
	*l = append(*l, r)
	return err
}

func (l *rangeList) String() string { return "" }

// Type implements pflag.Value.
func (l *rangeList) Type() string { return "SRC:DST:LENGTH" }

// rangeFlags choose what to copy or to compare.
type rangeFlags struct {
	srcOffset, dstOffset, length sizeFlag

	list rangeList
	file fileFlag
	// usedMap is a map file of ddrescue; oldMap is the same under its deprecated name.
	usedMap, oldMap fileFlag
}

func (f *rangeFlags) add(flags *pflag.FlagSet) {
	flags.Var(&f.srcOffset, "src-offset", "start at this offset in the source")
	flags.Var(&f.dstOffset, "dst-offset", "start at this offset in the destination")
	flags.Var(&f.length, "length", "copy or compare this many bytes (default: up to the end of the source)")
	flags.Var(&f.list, "range", "copy or compare this range; can be repeated; --range ::1G starts where the range before it ended")
	flags.Var(&f.file, "ranges", "read ranges from a file: one SRC:DST:LENGTH a line, # starts a comment; - is stdin")
	flags.Var(&f.usedMap, usedMapFlag, "copy or compare what this map file of ddrescue or partclone marks as rescued or used (+)")
	flags.Var(&f.oldMap, oldMapFlag, "the old name of --"+usedMapFlag)
	flags.Lookup(oldMapFlag).Hidden = true // pflag would tell of MarkDeprecated on stdout
}

// ranges returns what was chosen; nil is the whole source.
func (f *rangeFlags) ranges(stdin io.Reader) ([]byterange.Range, error) {
	single := f.srcOffset.set || f.dstOffset.set || f.length.set
	listed := len(f.list) > 0 || f.file != ""
	flag, used := f.used()
	switch {
	case f.usedMap != "" && f.oldMap != "":
		return nil, usage("--%s is the old name of --%s: leave it out", oldMapFlag, usedMapFlag)
	case used != "" && (single || listed):
		return nil, usage("--%s says where to copy: leave the other ranges out", flag)
	case used != "":
		return readUsedMap(flag, used)
	case single && listed:
		return nil, usage("--range and --ranges say where to copy: leave --src-offset, --dst-offset and --length out")
	case f.length.set && f.length.bytes == 0:
		return nil, usage("--length 0 is nothing: leave --length out for everything up to the end of the source")
	case single:
		return []byterange.Range{{Src: f.srcOffset.bytes, Dst: f.dstOffset.bytes, Len: f.length.bytes}}, nil
	case f.file == "":
		return f.list, nil
	}
	fromFile, err := f.readFile(stdin)
	return append(fromFile, f.list...), err // in the order of copyfilerange
}

// The flag for a map of used areas. In earlier versions it was called as copy domains are;
// state files have command lines with that name.
const (
	usedMapFlag = "used-map"
	oldMapFlag  = "domain"
)

// used is the map file, and the flag that it was given with.
func (f *rangeFlags) used() (flag, name string) {
	if f.usedMap == "" && f.oldMap != "" {
		return oldMapFlag, string(f.oldMap)
	}
	return usedMapFlag, string(f.usedMap)
}

// outdated warns of flags that will be gone.
func (f *rangeFlags) outdated() (warnings []string) {
	if f.oldMap != "" {
		warnings = append(warnings, fmt.Sprintf("--%s is deprecated, and a later version will not know it: use --%s, which means the same", oldMapFlag, usedMapFlag))
	}
	return warnings
}

// readUsedMap makes ranges of what is rescued in a map file.
func readUsedMap(flag, name string) ([]byterange.Range, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, usage("--%s: %v", flag, err)
	}
	defer file.Close()
	extents, err := journal.ParseMap(file)
	if err != nil {
		return nil, usage("--%s %s: %v", flag, name, err)
	}
	var ranges []byterange.Range
	for _, e := range extents {
		if e.Status == journal.Done {
			ranges = append(ranges, byterange.Range{Src: e.Off, Dst: e.Off, Len: e.Len})
		}
	}
	if len(ranges) == 0 {
		return nil, usage("--%s %s: the file marks nothing as rescued or used", flag, name)
	}
	return ranges, nil
}

func (f *rangeFlags) readFile(stdin io.Reader) ([]byterange.Range, error) {
	if f.file == "-" {
		return readRanges(stdin, "stdin")
	}
	file, err := os.Open(string(f.file))
	if err != nil {
		return nil, usage("--ranges: %v", err)
	}
	defer file.Close()
	return readRanges(file, string(f.file))
}
