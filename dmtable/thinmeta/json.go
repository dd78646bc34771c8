package thinmeta

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/dmcopy/dmcopy/dmtable/internal/rows"
	"github.com/dmcopy/dmcopy/remap"
)

// stored is a map in JSON. Runs are [virtual, data, length, shared] in blocks,
// sorted by virtual blocks, with 1 for shared and 0 for not.
type stored struct {
	BlockSize  remap.Sector    `json:"block_size"`
	DataBlocks uint64          `json:"data_blocks"`
	Runs       json.RawMessage `json:"runs"`
}

// MarshalJSON writes the map for [Map.UnmarshalJSON].
func (m *Map) MarshalJSON() ([]byte, error) {
	var text []byte
	for i := range m.runs.n {
		r := m.runs.at(i)
		shared := uint64(0)
		if r.shared() {
			shared = 1
		}
		text = rows.Append(text, r.virtual(), r.data(), r.length(), shared)
	}
	return json.Marshal(stored{m.blockSize, m.dataBlocks, rows.Close(text)})
}

// UnmarshalJSON reads a stored map. It accepts only what [Device] can have
// made.
func (m *Map) UnmarshalJSON(text []byte) error {
	loaded, err := load(text)
	if err != nil {
		return &Error{"load", err}
	}
	*m = *loaded
	return nil
}

func load(text []byte) (*Map, error) {
	var in stored
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		return nil, err
	}
	super := Super{DataBlockSize: in.BlockSize, DataBlocks: in.DataBlocks}
	if err := super.checkData(); err != nil {
		return nil, err
	}
	m := &Map{dataBlocks: in.DataBlocks, blockSize: in.BlockSize}
	return m, rows.Parse(in.Runs, 4, func(row []uint64) error {
		virtual, data, length, shared := row[0], row[1], row[2], row[3]
		if shared > 1 || m.runs.n > 0 && virtual <= m.runs.last().virtual() {
			return fmt.Errorf("%w: run %d", ErrFormat, m.runs.n)
		}
		return m.add(virtual, data, length, shared == 1)
	})
}
