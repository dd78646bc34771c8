package ends

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// leftToKernel is a device whose transfers are left to the kernel.
type leftToKernel struct {
	emulation.Device
	begun *int
}

func (l leftToKernel) Async() emulation.Start {
	return func(_ bool, _ int64, n int) (emulation.Transfer, error) {
		*l.begun++
		return emulation.Transfer{Len: n, End: func(n int, err error) (int, error) { return n, err }}, nil
	}
}

// TestWholeAsync: what is left to the kernel is written to no file that was cut off, and whoever
// has written to one that was cut off meanwhile is told. What is read does not matter.
func TestWholeAsync(t *testing.T) {
	const size = 1 << 20
	path := filepath.Join(t.TempDir(), "file")
	begun := 0
	open := func() (start emulation.Start, close func() error) {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		look, err := blockio.Look(path)
		if err != nil {
			t.Fatal(err)
		}
		loop := sysblock.StoredLoop{LoopFile: &sysblock.LoopFile{File: path, ID: look.ID()}, Name: "loop0", Size: size / 512}
		below := &backing{
			loops: func() ([]sysblock.StoredLoop, error) { return []sysblock.StoredLoop{loop}, look.Close() },
			log:   slog.New(slog.DiscardHandler), files: make(map[place]*backingFile),
		}
		if err := below.look(); err != nil {
			t.Fatal(err)
		}
		below.loops = func() ([]sysblock.StoredLoop, error) { return []sysblock.StoredLoop{loop}, nil }
		return emulation.Async(wholeDevice{leftToKernel{begun: &begun}, below}), below.Close
	}

	start, done := open()
	transfer, err := start(true, 0, 512)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := transfer.End(512, nil); n != 512 || err != nil {
		t.Errorf("a whole file: %d, %v", n, err)
	}
	if transfer, err = start(true, 0, 512); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size/2); err != nil {
		t.Fatal(err)
	}
	if n, err := transfer.End(0, unix.EIO); n != 0 || !errors.Is(err, unix.EIO) {
		t.Errorf("failed: %d, %v", n, err)
	}
	if _, err := transfer.End(512, nil); !errors.Is(err, blockio.ErrResized) {
		t.Errorf("cut off meanwhile: %v", err)
	}
	if before := begun; true {
		if _, err := start(true, 0, 512); !errors.Is(err, blockio.ErrResized) || begun != before {
			t.Errorf("cut off: %v, begun %v", err, begun != before)
		}
	}
	if transfer, err = start(false, 0, 512); err != nil {
		t.Fatal(err)
	}
	if n, err := transfer.End(512, nil); n != 512 || err != nil {
		t.Errorf("read: %d, %v", n, err)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
	if emulation.Async(wholeDevice{struct{ emulation.Device }{}, nil}) != nil {
		t.Error("calls are left to the kernel")
	}
}
