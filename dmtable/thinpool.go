package dmtable

import (
	"fmt"
	"strconv"

	"github.com/dmcopy/dmcopy/remap"
)

const typeThinPool = "thin-pool"

// poolFeatures are the optional words of a pool's line (dm-thin.c,
// emit_flags).
var poolFeatures = map[string]bool{
	"skip_block_zeroing": true, "ignore_discard": true, "no_discard_passdown": true, "read_only": true, "error_if_no_space": true,
}

// Pool is what the line of a thin pool says (drivers/md/dm-thin.c):
//
//	<metadata dev> <data dev> <block> <low water mark> <count> <features>…
type Pool struct {
	Metadata, Data remap.Dev
	// Block is the size of a data block in sectors.
	Block remap.Sector
}

// Bounds of a pool's block size in sectors (dm-thin.c,
// DATA_DEV_BLOCK_SIZE_MIN_SECTORS and _MAX_).
const (
	minPoolBlock = 128
	maxPoolBlock = 2097152
)

func readPool(a *args) Pool {
	a.blankAtEnd()
	p := Pool{Metadata: a.dev(), Data: a.dev(), Block: a.sector()}
	a.sector() // low water mark, in blocks
	a.flags(poolFeatures)
	if p.Block < minPoolBlock || p.Block > maxPoolBlock || p.Block%minPoolBlock != 0 {
		a.reject()
	}
	return p
}

// parsePool maps a pool the way the kernel does for the thin volumes above it:
// sector by sector onto its data device, whatever the start of the line
// (pool_map).
func parsePool(t *Target, a *args) mapping {
	p := readPool(a)
	if t.Start != 0 {
		return a.opaque(t, "begin")
	}
	if _, err := ParsePoolStatus(t.Status); err != nil {
		return a.opaque(t, "status")
	}
	return &pool{p.Data}
}

type pool struct{ data remap.Dev }

func (m *pool) place(_ remap.Op, off, n remap.Sector) remap.Place {
	return data("dm:thin-pool", m.data, off, n)
}

// Pool returns what the table says if it is that of a thin pool.
func (t *Table) Pool() (Pool, bool) {
	if len(t.Targets) != 1 || t.Targets[0].Type != typeThinPool {
		return Pool{}, false
	}
	var a args
	a.reset(t.Targets[0].Params)
	p := readPool(&a)
	return p, a.done() && t.Targets[0].Start == 0
}

// PoolStatus is what the status line of a working thin pool says (dm-thin.c,
// pool_status):
//
//	<transaction id> <used>/<total metadata blocks> <used>/<total data blocks> <held root|-> <mode> <discards> <when full> <needs_check|-> <low water mark>
type PoolStatus struct {
	Transaction uint64
	// HeldRoot is the block of a metadata snapshot that somebody has taken,
	// 0 for none.
	HeldRoot uint64
	// DataBlocks are the blocks that there are, UsedBlocks those that are mapped.
	DataBlocks, UsedBlocks uint64
	// Mode is "rw", "ro" or "out_of_data_space".
	Mode       string
	NeedsCheck bool
}

// ParsePoolStatus reads a status line. Its error wraps ErrBadTable, also for a
// pool that has failed.
func ParsePoolStatus(line string) (PoolStatus, error) {
	var a args
	a.reset(line)
	a.blankAtEnd()
	var s PoolStatus
	s.Transaction = a.big()
	a.ratio()
	s.UsedBlocks, s.DataBlocks = a.ratio()
	if word := a.word(); word != "-" {
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil || n == 0 {
			a.reject()
		}
		s.HeldRoot = n
	}
	s.Mode = a.oneOf("rw", "ro", "out_of_data_space")
	a.oneOf("discard_passdown", "no_discard_passdown", "ignore_discard")
	a.oneOf("error_if_no_space", "queue_if_no_space")
	s.NeedsCheck = a.oneOf("needs_check", "-") == "needs_check"
	a.big()
	if !a.done() {
		return PoolStatus{}, fmt.Errorf("%w: status of thin-pool: %q", ErrBadTable, line)
	}
	return s, nil
}

// condensePool: a new transaction may have made a snapshot of a volume, and what a
// held root pins is pinned no more when it is another one. A pool without space
// has all blocks where they were.
func condensePool(line string) string {
	s, err := ParsePoolStatus(line)
	if err != nil {
		return line
	}
	return fmt.Sprintf("transaction %d root %d read-only %v check %v", s.Transaction, s.HeldRoot, s.Mode == "ro", s.NeedsCheck)
}
