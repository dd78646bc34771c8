package thinmeta

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// blocks is the size of drawn devices, small enough to be asked block by
// block.
const blocks = 400

// want is what the model knows of a block.
type want struct {
	data   uint64
	shared bool
}

// draw draws the mappings of one device and what they mean.
func draw(t *rapid.T, snapshotted uint32) (mappings []entry, model map[uint64]want) {
	model = make(map[uint64]want)
	data, time := uint64(0), uint32(0)
	for block := rapid.Uint64Range(0, 9).Draw(t, "begin"); block < blocks; block += rapid.SampledFrom([]uint64{0, 0, 1, 50}).Draw(t, "gap") {
		data = rapid.Uint64Range(0, 990).Draw(t, "data")
		time = rapid.Uint32Range(0, 5).Draw(t, "time")
		for range rapid.IntRange(1, 12).Draw(t, "run") {
			if block < blocks && data < 1000 {
				mappings = append(mappings, mapping(block, data, time))
				model[block] = want{data, snapshotted > time}
				block, data = block+1, data+1
			}
		}
	}
	return mappings, model
}

func checkFind(t *rapid.T, m *Map, model map[uint64]want) {
	next, previous := uint64(0), found{}
	for block := range uint64(blocks + 10) {
		got := find(m, block)
		w, mapped := model[block]
		if got.at != w.data || got.mapped != mapped || got.shared != w.shared || got.run == 0 {
			t.Fatalf("block %d: %+v, want %+v, %v", block, got, w, mapped)
		}
		continues := got.mapped == previous.mapped && got.shared == previous.shared && (!mapped || got.at == previous.at+1)
		if block < next && !(continues && got.run == previous.run-1) || block > 0 && block >= next && continues {
			t.Fatalf("block %d: %+v after %+v", block, got, previous)
		}
		next, previous = block+got.run, got
	}
}

func TestDeviceProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		image := newImage(1500, rapid.SampledFrom([]int{3, 5, 20, 126}).Draw(t, "fanout"))
		image.free = rapid.Permutation(image.free).Draw(t, "free")
		models := make(map[uint32]map[uint64]want)
		for id := uint32(0); len(models) < 4; id += rapid.Uint32Range(1, 1000).Draw(t, "id") {
			snapshotted := rapid.Uint32Range(0, 5).Draw(t, "snapshotted")
			mappings, model := draw(t, snapshotted)
			image.device(uint64(id), snapshotted, mappings...)
			models[id] = model
		}
		block := uint64(0)
		if f := image.finish(); rapid.Bool().Draw(t, "held") {
			block = image.hold(f)
		}
		for id, model := range models {
			m, details := image.mustRead(t, block, id)
			if m.Mapped() != uint64(len(model)) || details.MappedBlocks != m.Mapped() {
				t.Fatalf("device %d: %d blocks, %+v, want %d", id, m.Mapped(), details, len(model))
			}
			checkFind(t, m, model)
			text, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			var loaded Map
			if err := json.Unmarshal(text, &loaded); err != nil || !equal(m, &loaded) {
				t.Fatalf("%s: %v", text, err)
			}
		}
	})
}

// TestFlippedBits: no bit of the blocks of a device can be another one.
func TestFlippedBits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		image := newImage(6, 3)
		image.device(1, 3, mapping(0, 1, 0), mapping(1, 2, 0), mapping(2, 3, 0), mapping(3, 9, 5))
		image.finish()
		bit := rapid.IntRange(0, len(image.bytes)*8-1).Draw(t, "bit")
		image.bytes[bit/8] ^= 1 << (bit % 8)
		if image.read(1) == nil {
			t.Fatalf("bit %d of block %d", bit%(4096*8), bit/8/4096)
		}
	})
}
