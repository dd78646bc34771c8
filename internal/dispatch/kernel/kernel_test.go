package kernel

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/blockio/looptest"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// TestMachineWithoutLog: who wants no log gives none.
func TestMachineWithoutLog(t *testing.T) {
	reader := layout.NewReader(layout.Options{})
	m := New(reader, nil)
	w := m.Watch()
	w.Follow(nil)
	if err := errors.Join(w.Close(), m.Close(), reader.Close()); err != nil {
		t.Error(err)
	}
}

// TestLeavesAreWhatTheyAreCalled: nodes that are not those of the devices of the
// plan are neither read nor flushed.
func TestLeavesAreWhatTheyAreCalled(t *testing.T) {
	loop := looptest.Attach(t, sparseFile(t, 1<<20), 512)
	dev, err := sysblock.FS("").Lookup(loop)
	if err != nil {
		t.Fatal(err)
	}
	k := &Machine{}
	for name, c := range map[string]struct {
		node remap.Node
		fine bool
	}{
		"the device":      {remap.Node{Path: loop, Dev: dev}, true},
		"another device":  {remap.Node{Path: loop, Dev: remap.Dev{Major: dev.Major, Minor: dev.Minor + 1}}, false},
		"a file":          {remap.Node{Path: sparseFile(t, 1<<20), Dev: dev}, false},
		"no block device": {remap.Node{Path: os.DevNull, Dev: remap.Dev{Major: 1, Minor: 3}}, false},
	} {
		leaf, err := k.OpenLeaf(t.Context(), &c.node)
		if (err == nil) != c.fine || !c.fine && !errors.Is(err, blockio.ErrReplaced) && !errors.Is(err, blockio.ErrFileType) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			leaf.Close()
		}
		if err := k.DropCaches(t.Context(), &c.node, machine.PartBelowSource); (err == nil) != c.fine {
			t.Errorf("%s: caches: %v", name, err)
		}
	}
}

// TestDirtyPartition: the caches of the partitions of a source are written back, as long as
// somebody has them open as well; below a source nobody asks for them.
func TestDirtyPartition(t *testing.T) {
	const start, length = 64 << 10, 256 << 10
	file := sparseFile(t, 1<<20)
	loop := looptest.Attach(t, file, 512)
	partition, err := os.OpenFile(looptest.Partition(t, loop, 1, start, length), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer partition.Close() // not before: it would write back
	data := bytes.Repeat([]byte{0x5A}, length)
	if _, err := partition.Write(data); err != nil {
		t.Fatal(err)
	}
	dev, err := sysblock.FS("").Lookup(loop)
	if err != nil {
		t.Fatal(err)
	}
	k := &Machine{}
	if err := k.DropCaches(t.Context(), &remap.Node{Path: loop, Dev: dev}, machine.PartSource); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got[start:start+length], data) {
		t.Errorf("%v: the disk does not hold what was written to its partition", err)
	}
}

func sparseFile(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}
