package thinmeta

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/dmcopy/dmcopy/remap"
)

// checkSound fails for what a map must never hold, whatever it was read from.
func checkSound(t *testing.T, m *Map) {
	total, end := uint64(0), uint64(0)
	for i := range m.runs.n {
		r := m.runs.at(i)
		if r.virtual() < end || r.virtual()+r.length() > uint64(remap.MaxSectors/m.blockSize) || r.data()+r.length() > m.dataBlocks {
			t.Fatalf("run %d: %d, %d, %d", i, r.virtual(), r.data(), r.length())
		}
		end = r.virtual() + r.length()
		total += r.length()
	}
	if total != m.blocks {
		t.Fatalf("%d blocks, %d in runs", m.blocks, total)
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var loaded Map
	if err := json.Unmarshal(text, &loaded); err != nil || !equal(m, &loaded) {
		t.Fatalf("%s: %v", text, err)
	}
}

// FuzzTree replaces the beginnings of blocks, and seals them again so that
// what comes behind the checksum is reached.
func FuzzTree(f *testing.F) {
	f.Add([]byte{}, []byte{}, []byte{}, uint32(1))
	image := small()
	image.finish()
	f.Add(image.block(leaf)[:64], image.block(2)[:64], image.block(3)[:64], uint32(1))
	f.Add(image.block(leaf)[:2100], image.block(2)[:2100], image.block(3)[:2000], uint32(1))
	// A root with two leaves behind it.
	image = newImage(8, 2)
	image.free = []int{leaf + 1, leaf + 2, leaf, 4, 5}
	image.device(1, 0, mapping(0, 5, 0), mapping(9, 6, 0), mapping(10, 7, 0))
	image.finish()
	f.Add(image.block(leaf)[:2100], image.block(leaf + 1)[:2100], image.block(leaf + 2)[:2100], uint32(1))
	f.Fuzz(func(t *testing.T, first, second, third []byte, id uint32) {
		m := small()
		m.finish()
		for i, with := range [][]byte{first, second, third} {
			copy(m.block(leaf + i)[4:], with[min(len(with), 4):])
			m.seal(leaf+i, nodeSalt)
		}
		super, err := ReadSuper(strict{t, m.bytes}, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := Device(strict{t, m.bytes}, super, id); err == nil {
			checkSound(t, got)
		}
	})
}

func FuzzSuper(f *testing.F) {
	image := small()
	fields := image.finish()
	f.Add(image.block(0)[:364], uint64(0))
	held := image.hold(fields)
	f.Add(image.block(0)[:364], held)
	f.Fuzz(func(t *testing.T, b []byte, block uint64) {
		m := small()
		m.hold(m.finish())
		clear(m.block(0))
		copy(m.block(0), b)
		m.seal(0, superSalt)
		super, err := ReadSuper(bytes.NewReader(m.bytes), block)
		if err != nil {
			return
		}
		if super.MetadataBlocks > 255*16320 || super.DataBlocks > 1<<40 || super.DataBlockSize < 128 || super.Block >= super.MetadataBlocks {
			t.Fatalf("%+v", super)
		}
		if got, _, err := Device(bytes.NewReader(m.bytes), super, 1); err == nil {
			checkSound(t, got)
		}
	})
}

// FuzzRead reads metadata as they are.
func FuzzRead(f *testing.F) {
	image := newImage(5, 3)
	image.device(1, 3, mapping(0, 1, 0), mapping(1, 2, 0))
	image.finish()
	f.Add(image.bytes)
	f.Add(image.bytes[:4096])
	f.Fuzz(func(t *testing.T, b []byte) {
		super, err := ReadSuper(bytes.NewReader(b), 0)
		if err != nil {
			return
		}
		if got, _, err := Device(bytes.NewReader(b), super, 1); err == nil {
			checkSound(t, got)
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(`{"block_size":128,"data_blocks":1000,"runs":[[0,100,2,0],[2,7,1,1],[5,8,1,0]]}`))
	f.Add([]byte(`{"block_size":2097152,"data_blocks":0,"runs":[]}`))
	f.Add([]byte(`{"block_size":128,"data_blocks":1099511627776,"runs":[[0,0,1099511627776,1]]}`))
	f.Add([]byte(`{"block_size":128,"data_blocks":9,"runs":[[0,0,1,1],[1,1,1,1],[140737488355327,8,1,0]]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var m Map
		if json.Unmarshal(text, &m) == nil {
			checkSound(t, &m)
		}
	})
}
