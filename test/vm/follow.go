package vm

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A Place is a sector of a device.
type Place struct {
	Dev    string // "major:minor"
	Sector uint64 // of 512 bytes
}

// FollowReads reads one block of a device at each of the sectors, with O_DIRECT, and says where the kernel went for each:
// the last place that a bio was handed on to. It serves for targets and personalities that hand a bio on in the thread that
// submitted it, so that the events of this thread follow one another: a read begins with the event of the device and ends
// where the next one begins. Addresses alone would not tell, because the tracepoint names the disk where a bio goes to a
// partition (include/trace/events/block.h, bio_dev). A sector for which no event was seen is not among the answers. The
// block is in bytes, a multiple of the logical block size, and at most a MiB.
func FollowReads(t testing.TB, device string, sectors []int64, block int) map[int64]Place {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	dev, err := DeviceNumber(device)
	if err != nil {
		t.Fatal(err)
	}
	f, err := openDirect(device, os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buffer := chunks.Get().(*[]byte)
	defer chunks.Put(buffer)
	events := TraceRemap(t, func() {
		for _, s := range sectors {
			if err := readFull(f, (*buffer)[:block], s*sectorSize); err != nil {
				t.Fatal(err)
			}
		}
	})
	return follow(t, events, unix.Gettid(), dev)
}

func follow(t testing.TB, events []Remap, thread int, top string) map[int64]Place {
	t.Helper()
	heads := make(map[string]bool)
	seen := make(map[int64]Place)
	var sector int64
	for _, ev := range events {
		if ev.TID != thread || ev.Len == 0 {
			continue
		}
		head, known := heads[ev.FromDev]
		if !known {
			var err error
			if head, err = multipathHead(ev.FromDev); err != nil {
				t.Fatal(err)
			}
			heads[ev.FromDev] = head
		}
		if head {
			continue
		}
		if ev.FromDev == top {
			sector = int64(ev.FromSector)
		}
		seen[sector] = Place{ev.Dev, ev.Sector}
	}
	return seen
}

// multipathHead tells whether the device is an NVMe namespace whose driver hands bios on to hidden devices, one per path.
// The head is where following ends.
func multipathHead(dev string) (bool, error) {
	link, err := filepath.EvalSymlinks("/sys/dev/block/" + dev)
	if err != nil {
		return false, err
	}
	_, err = os.Stat(filepath.Join(link, "partition"))
	return strings.Contains(link, "/nvme-subsystem/") && err != nil, nil
}
