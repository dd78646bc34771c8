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
}

// mapped has all of a run of a device in the page cache, mapped.
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
	m := mapping{device, memory}
	m.stale(memory) // each page is read
	return m
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

// layers are devices on each other, and what of each is the destination.
type layers struct {
	src, dst string
	// at is where the destination begins on each level, from the top.
	levels []string
	at     []int64
}

const cached = 8 * mib

// onPartition is a volume on a volume on a partition of a disk that copies by itself.
func onPartition(t *testing.T) layers {
	disk := vm.Device(t, beta)
	part := vm.Partition(t, disk, 1, 16*mib, 64*mib)
	low := vm.Linear(t, "low", part, 4*mib, 32*mib)
	top := vm.Linear(t, "top", low, 2*mib, cached)
	return layers{vm.Linear(t, "from", disk, 200*mib, cached), top, []string{top, low, part, disk}, []int64{0, 2 * mib, 6 * mib, 22 * mib}}
}

// partition is the partition itself.
func partition(t *testing.T) layers {
	disk := vm.Device(t, beta)
	part := vm.Partition(t, disk, 1, 16*mib, cached)
	return layers{vm.Linear(t, "from", disk, 200*mib, cached), part, []string{part, disk}, []int64{0, 16 * mib}}
}

// wholeDisk is a disk that cannot copy, with a partition.
func wholeDisk(t *testing.T) layers {
	disk := vm.Device(t, plain)
	part := vm.Partition(t, disk, 1, mib, 64*mib)
	return layers{vm.Linear(t, "from", vm.Device(t, beta), 200*mib, 2*cached), disk, []string{disk, part}, []int64{mib, 0}}
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
			vm.Stamp(t, l.src, 1, 0, cached)
			vm.Stamp(t, l.dst, 2, l.at[0], cached)
			vm.Settle(t)
			var readers []mapping
			for i, device := range l.levels {
				readers = append(readers, mapped(t, device, l.at[i], cached))
			}
			before := bytes.Clone(readers[0].memory)
			l.copy(t, c.args, c.early)
			now := vm.Aligned(t, cached)
			vm.ReadDirect(t, l.dst, now, l.at[0])
			if bytes.Equal(now, before) {
				t.Fatal("nothing was copied")
			}
			for i, r := range readers {
				if n := r.stale(now); n > 0 {
					t.Errorf("%s: %d of %d pages are stale", filepath.Base(r.device), n, cached/4096)
				}
				at := 4096*(i+1) + 7
				r.memory[at]++
				now[at] = r.memory[at]
				if err := unix.Msync(r.memory, unix.MS_SYNC); err != nil {
					t.Error(err)
				}
			}
			then := vm.Aligned(t, cached)
			vm.ReadDirect(t, l.dst, then, l.at[0])
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
	cmd := exec.Command("dmcopy", append(args, l.src, l.dst)...)
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
