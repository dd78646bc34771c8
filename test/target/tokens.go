package target

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

// tokenSize is the length of a ROD token in bytes. SPC-4, 5.17.6.5.
const tokenSize = 512

// token is a representation of data that the target has given out.
type token struct {
	unit    *unit
	ranges  []extent
	blocks  uint64
	timeout time.Duration
	used    time.Time
	ended   *scsi.SenseCode // why it is good for nothing any more
	active  int             // operations that use it
}

// extent is a range descriptor. SBC-3, table 67.
type extent struct {
	lba    uint64
	blocks uint64
}

const extentSize = 16

// extents reads range descriptors. ok is false if a reserved field is not zero.
func extents(b []byte) (all []extent, ok bool) {
	for ; len(b) >= extentSize; b = b[extentSize:] {
		if binary.BigEndian.Uint32(b[12:]) != 0 {
			return nil, false
		}
		all = append(all, extent{binary.BigEndian.Uint64(b), uint64(binary.BigEndian.Uint32(b[8:]))})
	}
	return all, len(b) == 0
}

func total(all []extent) (blocks uint64) {
	for _, e := range all {
		blocks += e.blocks
	}
	return blocks
}

// cut is the n blocks of the ranges that follow the first skip ones.
func cut(all []extent, skip, n uint64) (some []extent) {
	for _, e := range all {
		if skip >= e.blocks {
			skip -= e.blocks
			continue
		}
		take := min(e.blocks-skip, n)
		if take == 0 {
			break
		}
		some = append(some, extent{e.lba + skip, take})
		skip, n = 0, n-take
	}
	return some
}

// checkExtents: inside of the unit, and no block twice. SBC-3, 5.12 and 5.49.
func (u *unit) checkExtents(all []extent, l TokenLimits) *scsi.SenseCode {
	switch {
	case len(all) == 0:
		return &invalidList
	case l.Ranges != 0 && len(all) > int(l.Ranges):
		return &tooManySegments
	case l.TransferBlocks != 0 && total(all) > l.TransferBlocks:
		return &invalidList
	}
	for i, e := range all {
		if !u.contains(e.lba, e.blocks) {
			return &outOfRange
		}
		for _, o := range all[:i] {
			if e.lba < o.lba+o.blocks && o.lba < e.lba+e.blocks {
				return &invalidList
			}
		}
	}
	return nil
}

// create makes a token: SPC-4, 5.17.6.5. What cannot be guessed of it is at its end.
func (t *Target) create(u *unit, ranges []extent, timeout time.Duration) [tokenSize]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.created++
	var b [tokenSize]byte
	binary.BigEndian.PutUint32(b[:], rodAccessUponReference)
	binary.BigEndian.PutUint16(b[6:], tokenSize-8)
	binary.BigEndian.PutUint64(b[8:], t.created)
	b[16] = 0xE4
	copy(b[20:48], designators(u.identity.Designators[:1]))
	blocks := total(ranges)
	binary.BigEndian.PutUint64(b[56:], blocks*uint64(u.block))
	rand.Read(b[128:])
	t.tokens[b] = &token{unit: u, ranges: ranges, blocks: blocks, timeout: timeout, used: t.config.Now()}
	return b
}

// use finds a token and marks it as used.
func (t *Target) use(b [tokenSize]byte) (*token, *scsi.SenseCode) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.tokens[b]
	switch {
	case !ok && binary.BigEndian.Uint16(b[6:]) != tokenSize-8:
		return nil, &tokenLength
	case !ok && binary.BigEndian.Uint32(b[:]) != rodAccessUponReference:
		return nil, &tokenCorrupt
	case !ok:
		return nil, &tokenUnknown
	case known.ended != nil:
		return nil, known.ended
	case known.active == 0 && t.config.Now().Sub(known.used) > known.timeout:
		known.ended = &tokenExpired
		return nil, known.ended
	}
	known.active++
	return known, nil
}

// unuse is the end of a use.
func (t *Target) unuse(k *token, deleted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k.active--
	k.used = t.config.Now()
	if deleted && k.ended == nil {
		k.ended = &tokenDeleted
	}
}

// Revoke makes all tokens invalid that are there now.
func (t *Target) Revoke() { t.end(&tokenRevoked) }

// Expire makes all tokens expire that are there now.
func (t *Target) Expire() { t.end(&tokenExpired) }

// Given are the tokens that were given out so far, whatever became of them.
func (t *Target) Given() [][]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all [][]byte
	for b := range t.tokens {
		all = append(all, b[:])
	}
	return all
}

func (t *Target) end(why *scsi.SenseCode) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.tokens {
		if k.ended == nil {
			k.ended = why
		}
	}
}

// Tokens counts the tokens that are valid.
func (t *Target) Tokens() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range t.tokens {
		if k.ended == nil && t.config.Now().Sub(k.used) <= k.timeout {
			n++
		}
	}
	return n
}

// isZero: the token that stands for zeroes. It is well known and all zeroes after its head. SBC-3, 4.28.5.
func isZero(b [tokenSize]byte) bool {
	zero := [tokenSize]byte{0xFF, 0xFF, 0x00, 0x01, 0, 0, 0x01, 0xF8}
	return b == zero
}
