package dmtable

import (
	"slices"
	"strconv"
	"strings"

	"github.com/dmcopy/dmcopy/remap"
)

// args reads the parameters of a target line word by word. The kernel prints
// them with exactly one space in between. The first wrong word makes every
// later one wrong, so that parsers can read all of them and be judged by done.
type args struct {
	rest string
	bad  bool
	// devs are the devices that were read, in order.
	devs []remap.Dev
	// trust is the operator's.
	trust Trust
}

// reset starts over with another line, in the same memory.
func (a *args) reset(params string) {
	*a = args{rest: params, devs: a.devs[:0]}
}

// more tells whether another word follows.
func (a *args) more() bool { return !a.bad && a.rest != "" }

// done tells whether all words were read and right.
func (a *args) done() bool { return !a.bad && a.rest == "" }

func (a *args) reject() { a.bad = true }

// word takes the next word. A space must have another word behind it.
func (a *args) word() string {
	word, rest, cut := strings.Cut(a.rest, " ")
	if a.bad || word == "" || cut && rest == "" {
		a.bad = true
		return ""
	}
	a.rest = rest
	return word
}

// dev takes a device number, the only way in which targets print devices.
func (a *args) dev() remap.Dev {
	dev, err := remap.ParseDev(a.word())
	if err != nil {
		a.bad = true
	}
	a.devs = append(a.devs, dev)
	return dev
}

// sector takes a position or a length in sectors.
func (a *args) sector() remap.Sector {
	s, err := remap.ParseSector(a.word())
	if err != nil {
		a.bad = true
	}
	return s
}

// number takes an unsigned number of 32 bits.
func (a *args) number() int64 {
	word := a.word()
	n, err := strconv.ParseUint(word, 10, 32)
	if err != nil {
		a.bad = true
	}
	return int64(n)
}

// opaque is the mapping of a line that is understood, and that is not mapped
// for the given reason in its present state.
func (a *args) opaque(t *Target, why string) mapping {
	return &opaque{layer: "dm:" + t.Type, reason: remap.Reason("layer:" + t.Type + "-" + why)}
}

// big takes an unsigned number of 64 bits.
func (a *args) big() uint64 {
	n, err := strconv.ParseUint(a.word(), 10, 64)
	if err != nil {
		a.bad = true
	}
	return n
}

// ratio takes two numbers with a slash in between.
func (a *args) ratio() (part, whole uint64) {
	left, right, _ := strings.Cut(a.word(), "/")
	part, err := strconv.ParseUint(left, 10, 64)
	whole, err2 := strconv.ParseUint(right, 10, 64)
	if err != nil || err2 != nil {
		a.bad = true
	}
	return part, whole
}

// oneOf takes a word that is one of a few.
func (a *args) oneOf(words ...string) string {
	word := a.word()
	if !slices.Contains(words, word) {
		a.bad = true
	}
	return word
}

// flags takes "<count> <word>…" with words of a set; the group may be missing.
func (a *args) flags(set map[string]bool) (found map[string]bool) {
	if !a.more() {
		return nil
	}
	found = make(map[string]bool)
	for n := a.number(); n > 0 && !a.bad; n-- {
		word := a.word()
		if !set[word] || found[word] {
			a.bad = true
		}
		found[word] = true
	}
	return found
}
