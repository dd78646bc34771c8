package main

import (
	"fmt"
	"strconv"
	"time"
)

// human prints a number of bytes with the largest binary unit that fits.
func human(bytes int64) string {
	const units = "KMGTPE"
	if bytes < 1<<10 {
		return strconv.FormatInt(bytes, 10) + " B"
	}
	value, unit := float64(bytes)/(1<<10), 0
	for value >= 1023.95 && unit < len(units)-1 {
		value /= 1 << 10
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// percent prints a share of a whole. It never rounds up to all or down to
// nothing, because both would be wrong in a report.
func percent(part, whole int64) string {
	switch {
	case whole <= 0 || part <= 0:
		return "0 %"
	case part == whole:
		return "100 %"
	}
	p := 100 * float64(part) / float64(whole)
	return fmt.Sprintf("%.1f %%", min(max(p, 0.1), 99.9))
}

// rate prints bytes per second.
func rate(bytes int64, d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	return human(int64(float64(bytes)/d.Seconds())) + "/s"
}

// duration prints a time span as coarsely as people want it.
func duration(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%d:%02d min", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%d:%02d h", d/time.Hour, d%time.Hour/time.Minute)
}

// plural prints a count and its noun.
func plural(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.FormatInt(n, 10) + " " + noun + "s"
}

// exact prints a number of bytes without loss, in the form that flags take:
// with the largest suffix that divides it.
func exact(bytes int64) string {
	for _, unit := range []struct {
		suffix string
		shift  uint
	}{{"T", 40}, {"G", 30}, {"M", 20}, {"K", 10}} {
		if bytes != 0 && bytes&(1<<unit.shift-1) == 0 {
			return strconv.FormatInt(bytes>>unit.shift, 10) + unit.suffix
		}
	}
	return strconv.FormatInt(bytes, 10)
}
