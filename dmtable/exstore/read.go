package exstore

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"github.com/dmcopy/dmcopy/remap"
)

// The header (dm-snap-persistent.c, struct disk_header).
const (
	headerSize = 16
	magic      = 0x70416e53 // "SnAp"
	version    = 1
)

// Read reads the store of a copy-on-write device of the given size.
func Read(r io.ReaderAt, size remap.Sector) (*Store, error) {
	s, err := read(r, size)
	if err != nil {
		return nil, &Error{"read", err}
	}
	return s, nil
}

func read(r io.ReaderAt, size remap.Sector) (*Store, error) {
	in, err := newInput(r, size)
	if err != nil {
		return nil, err
	}
	g, err := readHeader(in)
	if err != nil {
		return nil, err
	}
	s := &Store{geometry: g}
	err = s.scan(in, 0, func(_ uint64, e run) (err error) {
		s.runs, err = add(s.runs, e)
		s.count++
		return err
	})
	if err != nil {
		return nil, err
	}
	s.runs, err = index(s.runs)
	return s, err
}

// Reread reads what has been appended since s was read, and returns the store
// as it is now. Areas that were full before are read once more, later ones
// never again, but for the beginning of the list, by which another list would
// show. Exceptions that are read again have to be the ones of s ([ErrChanged]).
func (s *Store) Reread(r io.ReaderAt) (*Store, error) {
	now, err := s.reread(r)
	if err != nil {
		return nil, &Error{"read again", err}
	}
	return now, nil
}

func (s *Store) reread(r io.ReaderAt) (*Store, error) {
	in, err := newInput(r, s.size)
	if err != nil {
		return nil, err
	}
	g, err := readHeader(in)
	if err != nil {
		return nil, err
	}
	if g != s.geometry {
		return nil, fmt.Errorf("%w: chunks of %d sectors were %d before", ErrChanged, g.chunk, s.chunk)
	}
	if err := s.confirmBeginning(in); err != nil {
		return nil, err
	}
	count := s.settled * s.perArea()
	var added []run
	err = s.scan(in, s.settled, func(n uint64, e run) (err error) {
		count = n + 1
		if n < s.count {
			return s.confirm(e)
		}
		added, err = add(added, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	if count < s.count {
		return nil, fmt.Errorf("%w: %d were %d before", ErrChanged, count, s.count)
	}
	return s.with(added, count)
}

// confirm tells whether s has this exception.
func (s *Store) confirm(e run) error {
	if at, _, excepted := s.Find(e.old); !excepted || at != e.new {
		return fmt.Errorf("%w: chunk %d is at %d now", ErrChanged, e.old, e.new)
	}
	return nil
}

// confirmBeginning reads the beginning of the first area again, if that is not
// done anyway.
func (s *Store) confirmBeginning(in *input) error {
	if s.settled == 0 {
		return nil
	}
	piece, err := in.at(s.offset(s.area(0)), s.chunk.Bytes())
	if err != nil {
		return err
	}
	for ; len(piece) > 0; piece = piece[entrySize:] {
		if err := s.confirm(entry(piece)); err != nil {
			return err
		}
	}
	return nil
}

// entry reads one entry of an area.
func entry(b []byte) run {
	return run{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), 1}
}

// with is s with runs that were appended and every full area of s settled.
func (s *Store) with(added []run, count uint64) (*Store, error) {
	now := &Store{geometry: s.geometry, runs: s.runs, count: count, settled: s.count / s.perArea()}
	if len(added) == 0 {
		return now, nil
	}
	if len(added) > MaxRuns-len(s.runs) {
		return nil, errTooBig
	}
	var err error
	now.runs, err = index(slices.Concat(s.runs, added))
	return now, err
}

// readHeader reads chunk 0. It says how long chunks are, itself included.
func readHeader(in *input) (geometry, error) {
	h, err := in.at(0, headerSize)
	if err != nil {
		return geometry{}, err
	}
	word := func(i int) uint32 { return binary.LittleEndian.Uint32(h[4*i:]) }
	g := geometry{chunk: remap.Sector(word(3)), size: in.size}
	switch {
	case word(0) != magic:
		return geometry{}, fmt.Errorf("%w: magic %#x", ErrFormat, word(0))
	case word(2) != version:
		return geometry{}, fmt.Errorf("%w: version %d", ErrFormat, word(2))
	case word(1) == 0:
		return geometry{}, ErrInvalid
	case word(1) != 1:
		return geometry{}, fmt.Errorf("%w: validity %d", ErrFormat, word(1))
	}
	return g, g.check()
}

// scan visits the exceptions from an area on, each with its number from the
// beginning of the list. What stands behind the end of the list is ignored, as
// the kernel does: a read may overtake a write of the same area.
func (g geometry) scan(in *input, area uint64, visit func(n uint64, e run) error) error {
	for ; ; area++ {
		if g.area(area) >= g.chunks() {
			return fmt.Errorf("%w: area %d of a device of %d chunks", ErrTruncated, area, g.chunks())
		}
		full, err := g.scanArea(in, area, visit)
		if err != nil || !full {
			return err
		}
	}
}

// scanArea visits the exceptions of one area. An area can be as long as 1 GiB,
// so it is read piece by piece.
func (g geometry) scanArea(in *input, area uint64, visit func(n uint64, e run) error) (full bool, err error) {
	start, size := g.offset(g.area(area)), g.chunk.Bytes()
	n := area * g.perArea()
	for done := int64(0); done < size; {
		piece, err := in.at(start+done, size-done)
		if err != nil {
			return false, err
		}
		done += int64(len(piece))
		for ; len(piece) > 0; piece = piece[entrySize:] {
			e := entry(piece)
			if e.new == 0 {
				return false, nil
			}
			if err := g.checkRun(e); err != nil {
				return false, err
			}
			if err := visit(n, e); err != nil {
				return false, err
			}
			n++
		}
	}
	return true, nil
}
