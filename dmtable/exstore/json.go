package exstore

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

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
	runs := []byte{'['}
	for i, r := range s.runs {
		if i > 0 {
			runs = append(runs, ',')
		}
		runs = append(runs, '[')
		runs = append(strconv.AppendUint(runs, r.old, 10), ',')
		runs = append(strconv.AppendUint(runs, r.new, 10), ',')
		runs = append(strconv.AppendUint(runs, r.n, 10), ']')
	}
	return json.Marshal(stored{s.chunk, s.size, append(runs, ']')})
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
	if err := s.loadRuns(in.Runs); err != nil {
		return nil, err
	}
	var err error
	s.runs, err = index(s.runs)
	return s, err
}

// loadRuns reads the rows one by one: there may be millions.
func (s *Store) loadRuns(text []byte) error {
	rows := json.NewDecoder(bytes.NewReader(text))
	if token, err := rows.Token(); err != nil || token != json.Delim('[') {
		return fmt.Errorf("%w: no runs", ErrFormat)
	}
	var row []uint64
	for rows.More() {
		if err := rows.Decode(&row); err != nil {
			return err
		}
		if len(row) != 3 {
			return fmt.Errorf("%w: a run of %d numbers", ErrFormat, len(row))
		}
		r := run{row[0], row[1], row[2]}
		if last := len(s.runs) - 1; last >= 0 && r.old <= s.runs[last].old {
			return fmt.Errorf("%w: runs are not sorted", ErrFormat)
		}
		if err := s.checkRun(r); err != nil {
			return err
		}
		var err error
		if s.runs, err = add(s.runs, r); err != nil {
			return err
		}
		s.count += r.n
	}
	return nil
}
