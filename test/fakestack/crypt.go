package fakestack

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/dmcopy/dmcopy/remap"
)

// Key is what a device is enciphered with.
type Key struct {
	Secret uint64
	// Block is how many sectors are enciphered as one.
	Block remap.Sector
	// Unknown makes layers that say nothing of the key, as if nothing could
	// be proven of it.
	Unknown bool
}

// Crypt enciphers what is stored below, in blocks of the key that begin at the
// segment. Each block depends on its position, in sectors, which is IV for the
// first.
type Crypt struct {
	Place
	Key Key
	IV  uint64
	// Override: a file system above says which blocks are left as they are.
	Override bool
}

// Seal is what the ciphertext of a sector depends on.
type Seal struct {
	Key Key
	// IV is the position of the block, and Inside the sector of the block.
	IV     uint64
	Inside remap.Sector
}

func (t Crypt) bio(_ bool, off remap.Sector) bio {
	inside := off % t.Key.Block
	return bio{to: []Place{t.plus(off)}, sealed: &Seal{Key: t.Key, IV: t.IV + uint64(off-inside), Inside: inside}}
}

// line leaves the secret out but is another one for another secret, as digests
// of tables are.
func (t Crypt) line() (string, string) {
	return "fake-crypt", fmt.Sprintf("%x %d %s %d %d %v", mix(t.Key.Secret), t.IV, t.Dev, t.Start, t.Key.Block, t.Override)
}
func (t Crypt) below() []remap.Dev { return []remap.Dev{t.Dev} }

func (t Crypt) freeze() mapping {
	key := &remap.CipherKey{Block: t.Key.Block}
	if !t.Key.Unknown {
		key.ID = fmt.Sprintf("fake %x %d %v", mix(t.Key.Secret), t.Key.Block, t.Override)
	}
	return func(_ remap.Op, off, n remap.Sector) remap.Place {
		return remap.Place{
			Len: n, Kind: remap.Cipher, Leg: remap.Leg{Dev: t.Dev, Start: t.Start + off, Readable: true},
			Cipher: key, IV: t.IV + uint64(off), Layer: "dm:crypt",
		}
	}
}

// block lists where the sectors of the sealed block lie, one level down.
func (b bio) block() []Place {
	places := make([]Place, b.sealed.Key.Block)
	for i := range places {
		places[i] = b.to[0].plus(remap.Sector(i) - b.sealed.Inside)
	}
	return places
}

// openBlock reads a sealed block and deciphers all of it.
func (m *Machine) openBlock(on medium, b bio) ([]byte, error) {
	data := make([]byte, b.sealed.Key.Block.Bytes())
	for i, at := range b.block() {
		if err := m.read(on, at.Dev, at.Start, data[i*sectorSize:][:sectorSize]); err != nil {
			return nil, err
		}
	}
	b.sealed.decipher(data)
	return data, nil
}

// unseal reads one sector of a sealed block.
func (m *Machine) unseal(on medium, b bio, p []byte) error {
	data, err := m.openBlock(on, b)
	if err == nil {
		copy(p, data[b.sealed.Inside.Bytes():])
	}
	return err
}

// seal writes one sector of a sealed block, and so all of it.
func (m *Machine) seal(on medium, b bio, p []byte) error {
	data, err := bytes.Clone(p), error(nil)
	if b.sealed.Key.Block > 1 {
		data, err = m.openBlock(on, b)
	}
	if err != nil {
		return err
	}
	copy(data[b.sealed.Inside.Bytes():], p)
	b.sealed.encipher(data)
	for i, at := range b.block() {
		if err := m.write(on, at.Dev, at.Start, data[i*sectorSize:][:sectorSize]); err != nil {
			return err
		}
	}
	return nil
}

// rounds of the network below: with three, every byte of a block depends on
// every other in either direction.
const rounds = 3

func (s *Seal) encipher(p []byte) {
	for round := range rounds {
		s.feed(p, round)
	}
}

func (s *Seal) decipher(p []byte) {
	for round := range rounds {
		s.feed(p, rounds-1-round)
	}
}

// feed is one round of a Feistel network over the two halves of a block; it
// undoes itself.
//
// Word by word under the race detector it took nine tenths of the time of all tests. Who
// shares a sector is noticed where it is copied.
//
//go:norace
func (s *Seal) feed(p []byte, round int) {
	from, to := p[:len(p)/2], p[len(p)/2:]
	if round%2 == 1 {
		from, to = to, from
	}
	word := mix(s.Key.Secret ^ mix(s.IV) + uint64(round))
	for i := 0; i < len(from); i += 8 {
		word = mix(word ^ binary.LittleEndian.Uint64(from[i:]))
	}
	scramble(word, to)
}
