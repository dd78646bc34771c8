package copies

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/test/vm"
)

// mapping is a device that a program has mapped, from an offset on.
type mapping struct {
	device string
	memory []byte
	first  []byte // what was seen there at first
}

// mapped has a run of a device mapped, with all of its pages in the page cache.
func mapped(t *testing.T, device string, off, n int64) mapping {
	t.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	memory, err := unix.Mmap(int(f.Fd()), off, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(memory) })
	return mapping{device, memory, bytes.Clone(memory)}
}

// stale counts the pages that do not show what is there.
func (m mapping) stale(now []byte) (pages int) {
	const page = 4096
	for at := 0; at < len(m.memory); at += page {
		if !bytes.Equal(m.memory[at:at+page], now[at:at+page]) {
			pages++
		}
	}
	return pages
}

// layers are devices on each other, and where a destination begins on each of them, from the top.
type layers struct {
	src    string
	levels []string
	at     []int64
}

const (
	cached = 8 * mib   // of each copy
	behind = 200 * mib // where its source is on a disk
)

// onPartition is a volume on a volume on a partition of a disk that copies by itself.
func onPartition(t *testing.T) layers {
	disk := twoStamps(t, beta, 22*mib)
	part := vm.Partition(t, disk, 1, 16*mib, 64*mib)
	low := vm.Linear(t, "low", part, 4*mib, 32*mib)
	top := vm.Linear(t, "top", low, 2*mib, cached)
	return layers{vm.Partition(t, disk, 2, behind, cached), []string{top, low, part, disk}, []int64{0, 2 * mib, 6 * mib, 22 * mib}}
}

// partition is a partition of such a disk.
func partition(t *testing.T) layers {
	disk := twoStamps(t, beta, 16*mib)
	part := vm.Partition(t, disk, 1, 16*mib, cached)
	return layers{vm.Partition(t, disk, 2, behind, cached), []string{part, disk}, []int64{0, 16 * mib}}
}

// wholeDisk is a disk that cannot copy, with a partition.
func wholeDisk(t *testing.T) layers {
	src := vm.Linear(t, "from", twoStamps(t, beta, 0), behind, cached)
	disk := twoStamps(t, plain, mib)
	return layers{src, []string{disk, vm.Partition(t, disk, 1, mib, 64*mib)}, []int64{mib, 0}}
}

// twoStamps is a disk with a stamp where a source is, and one where a destination is. It is
// made before there are partitions: when a disk was written to, udev has the kernel read
// its table, and what is not in there, and is not open, is gone.
func twoStamps(t *testing.T, d vm.Disk, dst int64) string {
	t.Helper()
	disk := vm.Device(t, d)
	vm.Stamp(t, disk, 1, behind, cached)
	vm.Stamp(t, disk, 2, dst, cached)
	vm.Settle(t)
	return disk
}

// TestCaches: whoever has a part of the destination mapped, at any level, sees what is
// there now, however the copy has ended; and a byte that is written there then changes
// no other.
func TestCaches(t *testing.T) {
	for _, c := range []struct {
		name   string
		layers func(*testing.T) layers
		args   []string
		early  bool // it is interrupted
	}{
		{"volumes, by the disk", onPartition, []string{"--offload", "require"}, false},
		{"volumes, through the host", onPartition, []string{"--offload", "never"}, false},
		{"volumes, verified", onPartition, []string{"--verify", "full"}, false},
		{"volumes, with a state", onPartition, []string{"--state", "/run/cache.state", "--restart"}, false},
		{"volumes, by the disk, interrupted", onPartition, nil, true},
		{"volumes, through the host, interrupted", onPartition, []string{"--offload", "never"}, true},
		{"volumes, with a state, interrupted", onPartition, []string{"--state", "/run/cache.state", "--restart"}, true},
		{"partition, by the disk", partition, []string{"--offload", "require"}, false},
		{"partition, through the host", partition, []string{"--offload", "never"}, false},
		{"partition, interrupted", partition, nil, true},
		{"disk with a partition", wholeDisk, nil, false},
		{"disk with a partition, interrupted", wholeDisk, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := c.layers(t)
			var readers []mapping
			for i, device := range l.levels {
				r := mapped(t, device, l.at[i], cached)
				readers = append(readers, r)
				if !bytes.Equal(r.first, readers[0].first) {
					t.Fatalf("%s is not what %s is made of", device, l.levels[0])
				}
			}
			l.copy(t, c.args, c.early)
			now := vm.Aligned(t, cached)
			vm.ReadDirect(t, l.levels[0], now, l.at[0])
			if bytes.Equal(now, readers[0].first) {
				t.Fatal("nothing was copied")
			}
			if !c.early {
				vm.CheckStamp(t, l.levels[0], 1, l.at[0], behind, cached)
			}
			for _, r := range readers {
				if n := r.stale(now); n > 0 {
					t.Errorf("%s: %d of %d pages are stale", filepath.Base(r.device), n, cached/4096)
				}
			}
			for i, r := range readers {
				at := 4096*(i+1) + 7
				r.memory[at]++
				now[at] = r.memory[at]
				if err := unix.Msync(r.memory, unix.MS_SYNC); err != nil {
					t.Error(err)
				}
			}
			then := vm.Aligned(t, cached)
			vm.ReadDirect(t, l.levels[0], then, l.at[0])
			if !bytes.Equal(then, now) {
				t.Error("a byte that was written has changed others")
			}
		})
	}
}

// copy copies to the destination, or a part of it.
func (l layers) copy(t *testing.T, args []string, early bool) {
	t.Helper()
	args = append([]string{"copy", "--json", "--progress", "json", "--dst-offset", strconv.FormatInt(l.at[0], 10), "--length", strconv.Itoa(cached)}, args...)
	if early {
		args = append(args, "--rate", "1M")
	}
	cmd := exec.Command("dmcopy", append(args, l.src, l.levels[0])...)
	says, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for lines, told := bufio.NewScanner(says), false; lines.Scan(); {
		all.WriteString(lines.Text() + "\n")
		var status struct {
			Done int64 `json:"bytes_done"`
		}
		if early && !told && json.Unmarshal(lines.Bytes(), &status) == nil && status.Done > 0 {
			told = true
			if err := cmd.Process.Signal(unix.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := 0
	if early {
		want = 130
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != want {
		t.Fatalf("%v: exit code %d\n%s", cmd.Args, code, all.String())
	}
}
