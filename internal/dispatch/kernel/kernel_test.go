package kernel

import (
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
		if err := k.DropCaches(t.Context(), &c.node, machine.PartSource); (err == nil) != c.fine {
			t.Errorf("%s: caches: %v", name, err)
		}
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
