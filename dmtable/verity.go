package dmtable

import (
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
)

// Options of a verity line, with how many words follow each of them
// (dm-verity-target.c, verity_status).
const (
	verityFEC    = "use_fec_from_device"
	verityZeroes = "ignore_zero_blocks"
)

var verityOptions = map[string]int{
	"ignore_corruption": 0, "restart_on_corruption": 0, "panic_on_corruption": 0,
	"restart_on_error": 0, "panic_on_error": 0,
	verityZeroes: 0, "check_at_most_once": 0, "try_verify_in_tasklet": 0,
	verityFEC: 1, "fec_blocks": 1, "fec_start": 1, "fec_roots": 1,
	"root_hash_sig_key_desc": 1,
}

// parseVerity maps a device whose blocks are checked against a tree of hashes
// (drivers/md/dm-verity-target.c):
//
//	<version> <dev> <hash dev> <block bytes> <hash block bytes> <blocks> <hash start> <algorithm> <digest> <salt|-> [<count> <options>…]
//
// Below it nothing is checked, so only those who say so read there; and not
// where reading through it is more than a check.
func parseVerity(t *Target, a *args) mapping {
	a.oneOf("0", "1")
	dev := a.dev()
	a.dev()
	block := verityBlock(a)
	verityBlock(a)
	blocks := a.sector()
	a.big()
	a.word()
	a.hex("")
	a.hex("-")
	options := a.options(verityOptions)
	for name, values := range options {
		verityOption(a, name, values)
	}
	if t.Len > blocks*block {
		a.reject()
	}
	_, corrected := options[verityFEC]
	_, zeroes := options[verityZeroes]
	switch {
	case !a.trust.Verity && (corrected || zeroes):
		return &noted{a.closed(t), verityNotes(dev, zeroes)}
	case !a.trust.Verity:
		return a.closed(t)
	case corrected:
		return &noted{a.opaque(t, "fec"), verityNotes(dev, zeroes)}
	case zeroes:
		return &noted{a.opaque(t, "zero-blocks"), verityNotes(dev, zeroes)}
	case condenseVerity(t.Status) == verityCorrupted:
		return a.opaque(t, "corrupted")
	case condenseVerity(t.Status) != verityValid:
		return a.opaque(t, "status")
	}
	return newSource(t, dev, 0)
}

// verityNotes name the device below for lines that are not looked through even for who
// trusts: all of Android Verified Boot are so.
func verityNotes(dev remap.Dev, zeroes bool) []string {
	text := fmt.Sprintf("the verified data lies on %s, from its first sector on: copy that device to copy the data as it is stored", dev)
	if zeroes {
		text += "; it differs only in blocks that are known to be zeroes"
	}
	return []string{text}
}

// verityBlock reads a block size in bytes and returns it in sectors.
func verityBlock(a *args) remap.Sector {
	size := a.number()
	if size < remap.SectorSize || size > 64<<10 || size&(size-1) != 0 {
		a.reject()
		return 1
	}
	return remap.Sector(size / remap.SectorSize)
}

// verityOption checks the values of an option.
func verityOption(a *args, name string, values []string) {
	for _, value := range values {
		switch name {
		case verityFEC:
			dev, err := remap.ParseDev(value)
			a.must(err == nil)
			a.devs = append(a.devs, dev)
		case "fec_blocks", "fec_start", "fec_roots":
			a.must(isNumber([]byte(value)))
		}
	}
}

// What the status line of verity begins with: so far all blocks that were read
// had the right hashes, or not. Behind it is how many have been corrected.
const (
	verityValid     = "V"
	verityCorrupted = "C"
)

// condenseVerity: blocks that were corrected are counted, and do not matter.
func condenseVerity(line string) string {
	var a args
	a.reset(line)
	word := a.oneOf(verityValid, verityCorrupted)
	if a.more() { // newer kernels tell it, or that nothing is corrected
		if count := a.word(); count != "-" {
			a.must(isNumber([]byte(count)))
		}
	}
	if !a.done() {
		return line
	}
	return word
}
