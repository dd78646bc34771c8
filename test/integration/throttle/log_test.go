package throttle

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// note is a line of the block tracer: a message of the throttle, or a read that goes to the disk.
type note struct {
	line  string
	at    float64 // seconds
	group string  // "0,0" is none, "0,1" the root
	text  string  // of a message of the throttle
	bytes int64   // of a read
}

var (
	message = regexp.MustCompile(` ([\d.]+): +\d+,\d+ +(\S+) +m +N +throtl (.*)$`)
	queued  = regexp.MustCompile(` ([\d.]+): +\d+,\d+ +(\S+) +Q +R\S* +\d+ \+ (\d+) `)
	ofSlice = regexp.MustCompile(`^\[R\] .*slice .*start=\d+ end=\d+ jiffies=\d+`)
)

// parse reads the trace.
func parse(lines []string) (notes []note, err error) {
	for _, line := range lines {
		n := note{line: line}
		var at string
		if m := message.FindStringSubmatch(line); m != nil {
			at, n.group, n.text = m[1], m[2], strings.TrimSpace(m[3])
		} else if m := queued.FindStringSubmatch(line); m != nil {
			sectors, err := strconv.ParseInt(m[3], 10, 64)
			if err != nil {
				return nil, err
			}
			at, n.group, n.bytes = m[1], m[2], sectors*512
		} else if strings.Contains(line, " N ") {
			return nil, fmt.Errorf("cannot read %q", line)
		} else {
			continue
		}
		if n.at, err = strconv.ParseFloat(at, 64); err != nil {
			return nil, err
		}
		notes = append(notes, n)
	}
	return notes, nil
}

// number is what stands behind a name in a message.
func (n note) number(name string) (int64, bool) {
	_, rest, ok := strings.Cut(n.text, name)
	if !ok {
		return 0, false
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '-' })
	if end < 0 {
		end = len(rest)
	}
	if v, err := strconv.ParseInt(rest[:end], 10, 64); err == nil {
		return v, true
	}
	v, err := strconv.ParseUint(rest[:end], 10, 64)
	return int64(v), err == nil
}

// ours counts the reads that came to the disk from groups that were given limits.
func ours(notes []note) (came int) {
	limited := make(map[string]bool)
	for _, n := range notes {
		limited[n.group] = limited[n.group] || n.is("limit change")
		if n.bytes > 0 && limited[n.group] {
			came++
		}
	}
	return came
}

// jiffies is when the throttle's clock stood while it said so.
func (n note) jiffies() (int64, bool) { return n.number("jiffies=") }

// is tells what kind of message it is.
func (n note) is(kind string) bool { return strings.HasPrefix(n.text, kind) }

// slice is what a message says of the slice of reads.
func (n note) slice() (start, end int64, ok bool) {
	if !ofSlice.MatchString(n.text) {
		return 0, 0, false
	}
	start, _ = n.number("start=")
	end, _ = n.number("end=")
	return start, end, true
}
