package hold

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// TestHoldable: nothing is held below a device of requests, and arrays only by
// kernels that wait.
func TestHoldable(t *testing.T) {
	sysfs := t.TempDir()
	bios, requests, array := dev(0), dev(1), remap.Dev{Major: 9, Minor: 127}
	for dev, attribute := range map[remap.Dev]string{bios: "slaves", requests: "mq", array: "md"} {
		if err := os.MkdirAll(filepath.Join(sysfs, "dev/block", dev.String(), attribute), 0o755); err != nil {
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
		a := &Anchor{sysfs: sysfs, kernel: parseVersion(c.release)}
		if err := a.holdable([]Chain{{}, {Nodes: c.nodes}}); !errors.Is(err, c.want) {
			t.Errorf("%q, %v: %v, want %v", c.release, c.nodes, err, c.want)
		}
	}
	if running().before(version{3, 0}) {
		t.Error("the kernel of this machine has no version")
	}
}

// TestNoAnchorOnWhatDoesNotWait: nothing is read through a device that would not
// wait for it.
func TestNoAnchorOnWhatDoesNotWait(t *testing.T) {
	a := &Anchor{sysfs: t.TempDir(), device: file(t)}
	if err := os.MkdirAll(filepath.Join(a.sysfs, "dev/block", dev(0).String(), "mq"), 0o755); err != nil {
		t.Fatal(err)
	}
	held, err := a.drop(t.Context(), Request{Chains: []Chain{{Len: 8, Nodes: []remap.Dev{dev(0)}}}})
	if !errors.Is(err, ErrUnavailable) || !errors.Is(err, errRequests) {
		t.Errorf("%v, %v", held, err)
	}
}

// TestProve: a device that counts no read in flight is one behind whose queue the
// anchor waits, although the probe has passed by now.
func TestProve(t *testing.T) {
	f := file(t)
	h, err := startHelper(f, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer h.close(time.Second)
	a := &Anchor{sysfs: t.TempDir(), device: f, probe: h, held: h}
	count := filepath.Join(a.sysfs, "dev/block", dev(0).String(), "inflight")
	if err := os.MkdirAll(filepath.Dir(count), 0o755); err != nil {
		t.Fatal(err)
	}
	chains := []Chain{{Len: 8, Nodes: []remap.Dev{dev(0)}}}
	spans, _ := spansOf(chains)
	for text, want := range map[string]error{"       0        3\n": ErrContended, "       1        0\n": nil, "1\n": ErrUnavailable} {
		if err := os.WriteFile(count, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := a.prove(t.Context(), &dropped{anchor: a}, chains, spans, time.Minute); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
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
	h.locks, h.anchor = dir, &Anchor{sysfs: t.TempDir(), device: file(t)}
	req := Request{Chains: []Chain{{Len: 8, Nodes: []remap.Dev{dev(0)}}}, Groups: []string{"vg"}, Deadline: 50 * time.Millisecond}
	if held, err := h.Hold(t.Context(), req); !errors.Is(err, ErrContended) {
		t.Errorf("%v, %v, want ErrContended", held, err)
	}
}
