package scsi

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// TokenLimits bounds token copies.
type TokenLimits struct {
	Ranges uint16 // descriptors in a command; 0: not told
	Blocks uint64 // of a token, and of a command; 0: no limit was told
	// MaxInactivity is the longest time in seconds that may be asked for; 0: not told.
	MaxInactivity uint32
}

// maxTokenBlocks bounds a token: what one range descriptor can name.
const maxTokenBlocks = 1<<32 - 1

// Types of third-party copy descriptors. SPC-4, table 664.
const thirdPartyTokenLimits = 0x0000

// tokenLimits parses the block device ROD limits: SBC-3, 6.6.6.3.
func (t *ThirdParty) tokenLimits(d []byte) error {
	if len(d) < 36 {
		return fmt.Errorf("%w: %d of 36 bytes", blocks.ErrShort, len(d))
	}
	t.Tokens = &TokenLimits{
		Ranges:        binary.BigEndian.Uint16(d[10:]),
		MaxInactivity: binary.BigEndian.Uint32(d[12:]),
		Blocks:        binary.BigEndian.Uint64(d[20:]),
	}
	return nil
}

// tokenCommands are what a token copy needs.
var tokenCommands = []ServiceAction{{OpThirdPartyOut, saPopulateToken}, {OpThirdPartyOut, saWriteUsingToken}, {OpThirdPartyIn, saReceiveToken}}

// judgeTokens says whether a unit with this page knows token copies. What it does
// not tell is not guessed.
func (t ThirdParty) judgeTokens() blocks.Support {
	for _, c := range tokenCommands {
		if !slices.Contains(t.Commands, c) {
			return blocks.Unsupported("domain:no-copy-command", "the third-party copy page does not list token copies")
		}
	}
	if t.Tokens == nil {
		return blocks.Unsupported("limit:zero", "the third-party copy page does not bound token copies")
	}
	return blocks.Support{Able: blocks.Yes}
}

// round fills in what was not told: one range, and as many blocks as it can name.
func (l TokenLimits) round() TokenLimits {
	l.Ranges = min(max(l.Ranges, 1), maxRanges)
	if l.Blocks == 0 || l.Blocks > maxTokenBlocks {
		l.Blocks = maxTokenBlocks
	}
	return l
}

// Min is the stricter of both in every field.
func (l TokenLimits) Min(o TokenLimits) TokenLimits {
	l, o = l.round(), o.round()
	return TokenLimits{Ranges: min(l.Ranges, o.Ranges), Blocks: min(l.Blocks, o.Blocks), MaxInactivity: minUnlessZero(l.MaxInactivity, o.MaxInactivity)}
}

// Cap limits a token to that many bytes, but never below a block. Zero bytes: no
// further limit.
func (l TokenLimits) Cap(bytes uint64, blockSize uint32) TokenLimits {
	l = l.round()
	if bytes != 0 && blockSize != 0 {
		l.Blocks = min(l.Blocks, max(bytes/uint64(blockSize), 1))
	}
	return l
}

// Half is the next smaller try for a target that refuses commands within the limits
// it reports. ok is false when there is nothing left to halve.
func (l TokenLimits) Half() (_ TokenLimits, ok bool) {
	h := l
	h.Ranges, h.Blocks = max(l.Ranges/2, 1), max(l.Blocks/2, 1)
	return h, h != l
}

func (l TokenLimits) String() string {
	return fmt.Sprintf("%d blocks in %d ranges a token", l.Blocks, l.Ranges)
}
