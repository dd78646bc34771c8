package exstore

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/dmcopy/dmcopy/dmtable/internal/rows"
	"github.com/dmcopy/dmcopy/remap"
)

// stored is a store in JSON. Runs are [old, new, length] in chunks, sorted by
// the old chunks.
type stored struct {
	ChunkSize remap.Sector    `json:"chunk_size"`
	Size      remap.Sector    `json:"cow_size"`
	Runs      json.RawMessage `json:"runs"`
}

// MarshalJSON writes the store for [Store.UnmarshalJSON].
func (s *Store) MarshalJSON() ([]byte, error) {
	var runs []byte
	for _, r := range s.runs {
		runs = rows.Append(runs, r.old, r.new, r.n)
	}
	return json.Marshal(stored{s.chunk, s.size, rows.Close(runs)})
}

// UnmarshalJSON reads a stored store. It accepts only what [Read] can have
// made.
func (s *Store) UnmarshalJSON(text []byte) error {
	loaded, err := load(text)
	if err != nil {
		return &Error{"load", err}
	}
	*s = *loaded
	return nil
}

func load(text []byte) (*Store, error) {
	var in stored
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return nil, err
	}
	s := &Store{geometry: geometry{in.ChunkSize, in.Size}}
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := rows.Parse(in.Runs, 3, s.loadRun); err != nil {
		return nil, err
	}
	var err error
	s.runs, err = index(s.runs)
	return s, err
}

func (s *Store) loadRun(row []uint64) (err error) {
	r := run{row[0], row[1], row[2]}
	if last := len(s.runs) - 1; last >= 0 && r.old <= s.runs[last].old {
		return fmt.Errorf("%w: runs are not sorted", ErrFormat)
	}
	if err := s.checkRun(r); err != nil {
		return err
	}
	s.runs, err = add(s.runs, r)
	s.count += r.n
	return err
}
