package remap_test

import (
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// ciphered is a layer that enciphers all of a device below.
type ciphered struct {
	dev remap.Dev
	key *remap.CipherKey
	off uint64 // iv offset
}

func (l ciphered) Map(_ remap.Op, s, n remap.Sector) remap.Place {
	return remap.Place{
		Len: n, Kind: remap.Cipher, Leg: remap.Leg{Dev: l.dev, Start: s, Readable: true},
		Cipher: l.key, IV: l.off + uint64(s), Layer: "dm:crypt",
	}
}

func (l ciphered) Below() []remap.Dev { return []remap.Dev{l.dev} }

func enciphered(i int, below remap.Dev, key *remap.CipherKey, off uint64) *remap.Node {
	return &remap.Node{Dev: dm(i), Name: "c", Size: 100, BlockSize: 512, Layer: ciphered{below, key, off}, Condition: remap.Condition{Mutable: true}}
}

// TestSameCipher: stored sectors may be moved only where both keys and both
// positions are the same.
func TestSameCipher(t *testing.T) {
	key, clone := &remap.CipherKey{ID: "aes k", Block: 1}, &remap.CipherKey{ID: "aes k", Block: 1}
	anywhere := &remap.CipherKey{ID: "ecb k", Block: 1, Anywhere: true}
	for name, c := range map[string]struct {
		src, dst       *remap.CipherKey
		srcOff, dstOff uint64
		from, to       remap.Sector
		want           bool
	}{
		"clone at the same place":         {key, clone, 0, 0, 8, 8, true},
		"clone elsewhere":                 {key, clone, 0, 0, 8, 16, false},
		"elsewhere with an offset":        {key, clone, 0, 8, 16, 8, true},
		"another key":                     {key, &remap.CipherKey{ID: "aes x", Block: 1}, 0, 0, 8, 8, false},
		"another sector size":             {key, &remap.CipherKey{ID: "aes k", Block: 8}, 0, 0, 8, 8, false},
		"keys that nothing is known of":   {&remap.CipherKey{Block: 1}, &remap.CipherKey{Block: 1}, 0, 0, 8, 8, false},
		"no keys":                         {nil, nil, 0, 0, 8, 8, false},
		"position does not matter":        {anywhere, anywhere, 0, 0, 8, 16, true},
		"positions that wrap are not one": {key, clone, 0, ^uint64(0), 8, 8, false},
	} {
		t.Run(name, func(t *testing.T) {
			st := stack(t, leaf(0, 100), leaf(1, 100), enciphered(0, leafDev(0), c.src, c.srcOff), enciphered(1, leafDev(1), c.dst, c.dstOff))
			pieces := 0
			for p, err := range remap.Pair(st, remap.Range{Dev: dm(0), Start: c.from, Len: 16}, st, remap.Range{Dev: dm(1), Start: c.to, Len: 16}) {
				if err != nil {
					t.Fatal(err)
				}
				pieces++
				if got := remap.SameCipher(&p.Src, &p.Dst); got != c.want {
					t.Errorf("same: %v", got)
				}
			}
			if pieces != 1 {
				t.Errorf("%d pieces", pieces)
			}
		})
	}
}

// TestSameCipherOfParts: a piece that begins inside of an extent has the
// position of its own first sector.
func TestSameCipherOfParts(t *testing.T) {
	key := &remap.CipherKey{ID: "aes k", Block: 1}
	st := stack(t, leaf(0, 200), enciphered(0, leafDev(0), key, 0),
		enciphered(1, dm(2), key, 0), node(2, linear(data(10, leafDev(0), 100), data(90, leafDev(0), 105))))
	total := remap.Sector(0)
	for p, err := range remap.Pair(st, remap.Range{Dev: dm(0), Len: 100}, st, remap.Range{Dev: dm(1), Len: 100}) {
		if err != nil {
			t.Fatal(err)
		}
		if !remap.SameCipher(&p.Src, &p.Dst) || p.Src.IV != uint64(p.Src.Start) {
			t.Errorf("piece at %d: positions %d and %d", p.Src.Start, p.Src.IV, p.Dst.IV)
		}
		total += p.Len()
	}
	if total != 100 {
		t.Errorf("%d sectors", total)
	}
}

// TestCipherTwice: below two ciphers nothing is known to be the same.
func TestCipherTwice(t *testing.T) {
	key := &remap.CipherKey{ID: "aes k", Block: 1}
	st := stack(t, leaf(0, 100), enciphered(0, leafDev(0), key, 0), enciphered(1, dm(0), key, 0))
	for e, err := range st.Resolve(remap.Read, remap.Range{Dev: dm(1), Len: 100}) {
		if err != nil || e.Kind != remap.Cipher || e.Cipher != nil || e.Len != 100 || remap.SameCipher(&e, &e) {
			t.Errorf("%+v, %v", e, err)
		}
	}
}
