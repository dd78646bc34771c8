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

// options takes "<count> <word>…" where each word is one of a set, at most
// once, and takes as many more words with it as the set tells. The group may be
// missing. It returns the words that were taken along.
func (a *args) options(set map[string]int) (found map[string][]string) {
	if !a.more() {
		return nil
	}
	return a.optionsOf(a.number(), set)
}

// optionsOf is options with the count of words already read.
func (a *args) optionsOf(count int64, set map[string]int) (found map[string][]string) {
	found = make(map[string][]string)
	for left := count; left > 0 && !a.bad; {
		name := a.word()
		values, known := set[name]
		left -= int64(1 + values)
		if _, again := found[name]; !known || again || left < 0 {
			a.bad = true
			return nil
		}
		found[name] = a.words(int64(values))
	}
	return found
}

// words takes so many words of any kind.
func (a *args) words(n int64) (words []string) {
	for ; n > 0 && !a.bad; n-- {
		words = append(words, a.word())
	}
	return words
}

// counted takes "<count> <word>…" with words of any kind.
func (a *args) counted() []string { return a.words(a.number()) }

// blankAtEnd allows for a space behind the last word, which the lines of some
// targets have. To be called before the first word.
func (a *args) blankAtEnd() { a.rest = strings.TrimSuffix(a.rest, " ") }

// closed is the mapping of a line that is understood, of a type that is never
// mapped.
func (a *args) closed(t *Target) mapping {
	return &opaque{layer: "dm:" + t.Type, reason: remap.Reason("layer:" + t.Type)}
}

// absolute is the mapping of a target that passes on the sectors of the device
// as they are, whatever the start of its line. Only where both are the same
// is it what anybody can have meant.
func (a *args) absolute(t *Target, m mapping) mapping {
	if t.Start != 0 {
		return a.opaque(t, "begin")
	}
	return m
}

// numbers demands that words which were read are unsigned numbers.
func (a *args) numbers(words []string) {
	for _, word := range words {
		a.must(isNumber([]byte(word)))
	}
}

// must rejects the line unless ok.
func (a *args) must(ok bool) {
	if !ok {
		a.bad = true
	}
}

// hex takes bytes in hexadecimal; a given word may stand for none.
func (a *args) hex(none string) {
	word := a.word()
	a.must(word == none || isHex([]byte(word)) && len(word)%2 == 0)
}

// maybeDev takes a device number, or "-", which stands for none.
func (a *args) maybeDev() remap.Dev {
	if a.rest == "-" || strings.HasPrefix(a.rest, "- ") {
		a.word()
		return remap.Dev{}
	}
	return a.dev()
}
