package enginetest

import (
	"math/rand/v2"

	"pgregory.net/rapid"

	"github.com/dmcopy/dmcopy/emulation"
)

// scene is a random task for an engine, with what there is before.
type scene struct {
	options            emulation.Options
	srcBlock, dstBlock int
	src, dst           []byte
	ops                []emulation.Op
}

// drawScene draws operations that do not overlap on the destination. Next to
// each other there are gaps of at least gap bytes.
func drawScene(t *rapid.T, gap int64) scene {
	blocks := rapid.SampledFrom([]int{1, 512, 4096})
	s := scene{
		options: emulation.Options{
			QueueDepth: rapid.IntRange(1, 8).Draw(t, "queue depth"),
			BlockSize:  rapid.SampledFrom([]int{4 << 10, 8 << 10, 64 << 10, 128 << 10}).Draw(t, "block size"),
		},
		srcBlock: blocks.Draw(t, "source block"),
		dstBlock: blocks.Draw(t, "destination block"),
	}
	size := rapid.Int64Range(1, 300<<10)
	s.src = content(t, size.Draw(t, "source size"))
	s.dst = content(t, size.Draw(t, "destination size"))
	unit := rapid.SampledFrom([]int64{1, 512, 4096}).Draw(t, "granularity of the operations")
	for at := int64(0); ; {
		if rapid.IntRange(0, 1).Draw(t, "apart") == 1 || gap > 0 {
			at += gap + unit*rapid.Int64Range(0, 20000/unit).Draw(t, "gap")
		}
		n := min(unit*rapid.Int64Range(0, 60000/unit).Draw(t, "length"), int64(len(s.dst))-at, int64(len(s.src)))
		if at >= int64(len(s.dst)) || len(s.ops) == 40 {
			break
		}
		op := emulation.Op{Dst: at, Len: n, Zero: rapid.IntRange(0, 4).Draw(t, "zero") == 0}
		if !op.Zero {
			op.Src = rapid.Int64Range(0, (int64(len(s.src))-n)/unit).Draw(t, "from") * unit
			last := len(s.ops) - 1
			if last >= 0 && rapid.Bool().Draw(t, "in a row") {
				if next := s.ops[last].Src + s.ops[last].Len; next+n <= int64(len(s.src)) {
					op.Src = next
				}
			}
		}
		s.ops = append(s.ops, op)
		at += max(n, 1)
	}
	if rapid.Bool().Draw(t, "shuffled") {
		s.ops = rapid.Permutation(s.ops).Draw(t, "order")
	}
	return s
}

// content is random bytes with runs of zeroes.
func content(t *rapid.T, size int64) []byte {
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "content"), 0))
	data := make([]byte, size)
	for at := int64(0); at < size; {
		n := min(1+random.Int64N(150<<10), size-at)
		if random.IntN(3) > 0 {
			for i := range data[at : at+n] {
				data[at+int64(i)] = byte(random.Uint32())
			}
		}
		at += n
	}
	return data
}

// drawFaults puts errors into some sectors.
func drawFaults(t *rapid.T, size int, label string) map[int64]error {
	sectors := rapid.SliceOfN(rapid.Int64Range(0, int64(size)/sectorSize), 0, 20).Draw(t, label)
	faults := map[int64]error{}
	for _, first := range sectors {
		err := rapid.SampledFrom(errFaults).Draw(t, label+" error")
		for i := range rapid.Int64Range(1, 12).Draw(t, label+" length") {
			faults[first+i] = err
		}
	}
	return faults
}

// damaged says whether the smallest transfer that holds the byte at off touches
// a bad sector: a block of the device, but no less than a sector.
func damaged(faults map[int64]error, off int64, block int) bool {
	unit := max(int64(block), sectorSize)
	for i := range unit / sectorSize {
		if faults[off/unit*(unit/sectorSize)+i] != nil {
			return true
		}
	}
	return false
}

// fate of one byte of the destination.
type fate struct {
	op     int // the operation that covers it, from 1 on
	unread bool
	unsure bool // a write that covers it has failed
}

// apply is the model of a copy: the fate of each byte, and what it should be.
func (s *scene) apply(readFaults, writeFaults map[int64]error) (want []byte, fates []fate) {
	want, fates = append([]byte(nil), s.dst...), make([]fate, len(s.dst))
	for i, op := range s.ops {
		for k := range op.Len {
			f := fate{op: i + 1}
			f.unread = !op.Zero && damaged(readFaults, op.Src+k, s.srcBlock)
			f.unsure = !f.unread && damaged(writeFaults, op.Dst+k, s.dstBlock)
			switch {
			case op.Zero:
				want[op.Dst+k] = 0
			case !f.unread:
				want[op.Dst+k] = s.src[op.Src+k]
			}
			fates[op.Dst+k] = f
		}
	}
	return want, fates
}

// mismatches is the model of a comparison of operations that are apart.
func (s *scene) mismatches() []emulation.Mismatch {
	var list []emulation.Mismatch
	for _, op := range s.ops {
		var run *emulation.Mismatch
		for k := range op.Len {
			src, wanted := int64(-1), byte(0)
			if !op.Zero {
				src, wanted = op.Src+k, s.src[op.Src+k]
			}
			dst := op.Dst + k
			if s.dst[dst] == wanted {
				continue
			}
			if run == nil || dst/sectorSize-(run.Dst+run.Len-1)/sectorSize > 1 {
				list = append(list, emulation.Mismatch{Src: src, Dst: dst})
				run = &list[len(list)-1]
			}
			run.Len = dst - run.Dst + 1
		}
	}
	return list
}
