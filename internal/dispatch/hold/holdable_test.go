package hold

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/sysfs"
	"github.com/dmcopy/dmcopy/remap"
)

// TestHoldable: nothing is held below a device of requests, and arrays only by
// kernels that wait.
func TestHoldable(t *testing.T) {
	machine := sysfs.Root(t.TempDir())
	bios, requests, array := dev(0), dev(1), remap.Dev{Major: 9, Minor: 127}
	for dev, attribute := range map[remap.Dev]string{bios: "slaves", requests: "mq", array: "md"} {
		if err := os.MkdirAll(machine.Block(dev).Path(attribute), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		release string
		nodes   []remap.Dev
		want    error
	}{
		{"6.1.0-37-amd64", []remap.Dev{bios}, nil},
		{"6.12.107+deb13-amd64", []remap.Dev{bios, requests}, errRequests},
		{"6.12.107+deb13-amd64", []remap.Dev{bios, array}, nil},
		{"7.0.1", []remap.Dev{array}, nil},
		{"6.1.0-37-amd64", []remap.Dev{bios, array}, errArrays},
		{"6.11", []remap.Dev{array}, errArrays},
		{"5.19", []remap.Dev{array}, errArrays},
		{"Linux", []remap.Dev{array}, errArrays},
		{"", []remap.Dev{array}, errArrays},
	} {
		a := &Anchor{kernel: &system{machine: machine, version: parseVersion(c.release)}}
		if err := a.holdable([]Chain{{}, {Nodes: c.nodes}}); !errors.Is(err, c.want) {
			t.Errorf("%q, %v: %v, want %v", c.release, c.nodes, err, c.want)
		}
	}
	if running().before(version{3, 0}) {
		t.Error("the kernel of this machine has no version")
	}
}

// TestHoldTakesTheGroup: a hold does not begin while somebody changes the volume
// group.
func TestHoldTakesTheGroup(t *testing.T) {
	dir, path := place(t)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	writer := lvmFlock(t, path, unix.LOCK_EX)
	defer lvmUnlock(path, writer)
	h := NewHolder(Auto, "/nonexistent", dev(0), nil)
	m := newModel(250, linux612)
	h.locks, h.anchor = dir, testAnchor(t, m)
	req := Request{Chains: []Chain{m.chain(8, disk, top)}, Groups: []string{"vg"}, Deadline: 50 * time.Millisecond}
	if held, err := h.Hold(t.Context(), req); !errors.Is(err, ErrContended) {
		t.Errorf("%v, %v, want ErrContended", held, err)
	}
}
