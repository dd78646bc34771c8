package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/test/vm"
)

// TestShare: blocks are shared, whatever is dirty and wherever the file ends; what
// does not fill a block goes through the host.
func TestShare(t *testing.T) {
	test := func(t *testing.T, dir string) {
		for _, size := range []int64{1 * mib, 8*mib + 4095, 4096, 4095, 1} {
			data := content(uint64(size), size)
			src := write(t, data, dir, "src")
			dst := write(t, content(1, size), dir, "dst")
			r := run(t, "--verify", "full", src, dst)
			if whole := r.Offloaded; whole > size || size-whole >= 4096 || r.Host != size-whole || reason(r, "limit:alignment") != r.Host {
				t.Errorf("%d: %+v", size, r)
			}
			sameBlocks(t, src, 0, dst, 0, r.Offloaded)
			holds(t, dst, data)
			holds(t, src, data)
		}
	}
	each(t, test)
	t.Run("small blocks", func(t *testing.T) { test(t, mounted(t, one, smallBlocks...)) })
}

// TestNewFile: a destination that is created for the copy. Sharing moves no data:
// next to nothing is written to the disk.
func TestNewFile(t *testing.T) {
	each(t, func(t *testing.T, dir string) {
		const size = 32 * mib
		data := content(1, size)
		src := write(t, data, dir, "src")
		vm.Run(t, "sync", "-f", dir)
		_, before, err := vm.Diskstats(vm.Device(t, one))
		if err != nil {
			t.Fatal(err)
		}
		expect(t, run(t, src, filepath.Join(dir, "dst")), size, 0, "")
		_, after, err := vm.Diskstats(vm.Device(t, one))
		if err != nil {
			t.Fatal(err)
		}
		if sectors := after - before; sectors > size/512/10 {
			t.Errorf("%d sectors were written", sectors)
		}
		sameBlocks(t, src, 0, filepath.Join(dir, "dst"), 0, size)
		holds(t, filepath.Join(dir, "dst"), data)
		// What is written to one of them is not seen in the other.
		write(t, content(2, size), src)
		holds(t, filepath.Join(dir, "dst"), data)
	})
}

// TestSparse: a hole becomes a hole, and takes away what was there.
func TestSparse(t *testing.T) {
	each(t, func(t *testing.T, dir string) {
		const size = 32 * mib
		src := truncate(t, size, dir, "src")
		f, err := os.OpenFile(src, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, size)
		for i, at := range []int64{0, 4 * mib, 20*mib + 64*kib} {
			data := content(uint64(i), 256*kib)
			copy(want[at:], data)
			if _, err := f.WriteAt(data, at); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		dst := write(t, content(9, size), dir, "dst")
		expect(t, run(t, src, dst), size, 0, "")
		holds(t, dst, want)
		if n := blocks(t, dst); n > 4*mib/512 {
			t.Errorf("%d sectors are allocated", n)
		}
	})
}

// TestRanges: parts of files, within one file as well.
func TestRanges(t *testing.T) {
	each(t, func(t *testing.T, dir string) {
		const size = 8 * mib
		from, to := content(1, size), content(2, size)
		src, dst := write(t, from, dir, "src"), write(t, to, dir, "dst")
		r := run(t, "--range", "1M:2M:1M", "--range", "5000:904:1000000", "--range", "4M:6M:700001", "--range", "1:7M:5000", src, dst)
		copy(to[2*mib:3*mib], from[1*mib:])
		copy(to[904:][:1000000], from[5000:])
		copy(to[6*mib:][:700001], from[4*mib:])
		copy(to[7*mib:][:5000], from[1:])
		holds(t, dst, to)
		holds(t, src, from)
		if r.Offloaded < 1*mib+990000+700000-8192 || r.Total != 1*mib+1000000+700001+5000 || reason(r, "limit:alignment") != r.Host {
			t.Errorf("%+v", r)
		}
		expect(t, run(t, "--range", "0:4M:2M", src, src), 2*mib, 0, "")
		copy(from[4*mib:][:2*mib], from)
		holds(t, src, from)
		if _, stderr, code := tryRun(t, "--range", "0:1M:2M", src, src); code != 2 || !strings.Contains(stderr, "overlap") {
			t.Errorf("overlapping: exit code %d: %s", code, stderr)
		}
		holds(t, src, from)
	})
}

// TestMapped: what a program has written to a mapping of the source, and not synced. It is a writer
// who does not show, and has to be accepted.
func TestMapped(t *testing.T) {
	each(t, func(t *testing.T, dir string) {
		const size = 4 * mib
		src := write(t, content(1, size), dir, "src")
		vm.Run(t, "sync", "-f", dir)
		f, err := os.OpenFile(src, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		memory, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		data := content(2, size)
		copy(memory, data)
		dst := filepath.Join(dir, "dst")
		if _, stderr, code := tryRun(t, src, dst); code != 6 || !strings.Contains(stderr, "does not show in /proc") {
			t.Errorf("exit code %d: %s", code, stderr)
		}
		expect(t, run(t, "--live-source", src, dst), size, 0, "")
		holds(t, dst, data)
		// And the other way round: a mapping of the destination sees what was copied.
		copy(memory, content(3, size))
		if err := unix.Munmap(memory); err != nil {
			t.Fatal(err)
		}
		if f, err = os.Open(src); err != nil {
			t.Fatal(err)
		}
		memory, err = unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		defer unix.Munmap(memory)
		if bytes.Equal(memory, data) {
			t.Error("the mapping shows what is yet to be copied")
		}
		back := write(t, data, dir, "back")
		expect(t, run(t, back, src), size, 0, "")
		if !bytes.Equal(memory, data) {
			t.Error("the mapping shows other bytes")
		}
	})
}

// TestDurable: a crash of the file system right after the copy loses nothing.
func TestDurable(t *testing.T) {
	const size = 16 * mib
	dir := mounted(t, one, sharing["xfs"]...)
	data := content(1, size+100)
	src, dst := write(t, data, dir, "src"), write(t, content(2, size+100), dir, "dst")
	vm.Run(t, "sync", "-f", dir)
	expect(t, run(t, src, dst), size, 100, "limit:alignment")
	vm.Run(t, "xfs_io", "-x", "-c", "shutdown", dir) // the log is not written
	vm.Run(t, "umount", dir)
	vm.Run(t, "mount", vm.Device(t, one), dir)
	holds(t, dst, data)
	sameBlocks(t, src, 0, dst, 0, size)
}

// TestOtherFileSystems: those that have no copy of their own, and files that are not
// on one file system. copy_file_range would succeed everywhere here.
func TestOtherFileSystems(t *testing.T) {
	const size = 3*mib + 5
	data := content(1, size)
	for name, mkfs := range map[string][]string{
		"ext4": {"mkfs.ext4", "-q", "-F"}, "xfs without": {"mkfs.xfs", "-q", "-f", "-m", "reflink=0"}, "f2fs": {"mkfs.f2fs", "-q", "-f"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := mounted(t, one, mkfs...)
			src, dst := write(t, data, dir, "src"), write(t, content(2, size), dir, "dst")
			expect(t, run(t, src, dst), 0, size, "domain:file-system")
			holds(t, dst, data)
			if r, _, code := tryRun(t, "--offload", "require", src, dst); code != 5 {
				t.Errorf("required: exit code %d, %+v", code, r)
			}
		})
	}
	t.Run("tmpfs", func(t *testing.T) {
		dir := t.TempDir()
		vm.Run(t, "mount", "-t", "tmpfs", "none", dir)
		t.Cleanup(func() { vm.Run(t, "umount", dir) })
		src, dst := write(t, data, dir, "src"), write(t, content(2, size), dir, "dst")
		expect(t, run(t, src, dst), 0, size, "domain:file-system")
		holds(t, dst, data)
	})
	t.Run("two", func(t *testing.T) {
		a, b := mounted(t, one, sharing["btrfs"]...), mounted(t, two, sharing["btrfs"]...)
		src, dst := write(t, data, a, "src"), write(t, content(2, size), b, "dst")
		expect(t, run(t, src, dst), 0, size, "domain:different-file-systems")
		holds(t, dst, data)
	})
}

// TestSubvolumes: they have device numbers of their own, and share blocks; so do two
// mounts of one file system.
func TestSubvolumes(t *testing.T) {
	const size = 8 * mib
	dir := mounted(t, one, sharing["btrfs"]...)
	vm.Run(t, "btrfs", "subvolume", "create", filepath.Join(dir, "a"))
	vm.Run(t, "btrfs", "subvolume", "create", filepath.Join(dir, "b"))
	data := content(1, size)
	src, dst := write(t, data, dir, "a", "src"), write(t, content(2, size), dir, "b", "dst")
	expect(t, run(t, src, dst), size, 0, "")
	holds(t, dst, data)
	sameBlocks(t, src, 0, dst, 0, size)

	again := t.TempDir()
	vm.Run(t, "mount", vm.Device(t, one), again)
	t.Cleanup(func() { vm.Run(t, "umount", again) })
	expect(t, run(t, src, write(t, content(3, size), again, "other")), size, 0, "")
	holds(t, filepath.Join(dir, "other"), data)

	// A snapshot shares all of its blocks already.
	vm.Run(t, "btrfs", "subvolume", "snapshot", filepath.Join(dir, "a"), filepath.Join(dir, "c"))
	expect(t, run(t, src, filepath.Join(dir, "c", "src")), size, 0, "")
	holds(t, filepath.Join(dir, "c", "src"), data)
}

// TestChecksums: a file without checksums cannot share blocks with one that has them.
func TestChecksums(t *testing.T) {
	const size = 4 * mib
	dir := mounted(t, one, sharing["btrfs"]...)
	data := content(1, size)
	src, dst := write(t, data, dir, "src"), write(t, nil, dir, "dst")
	vm.Run(t, "chattr", "+C", dst)
	write(t, content(2, size), dst)
	expect(t, run(t, src, dst), 0, size, "file:refused")
	holds(t, dst, data)
}

// TestCompressed: extents that are not what is read.
func TestCompressed(t *testing.T) {
	const size = 8 * mib
	dir := mounted(t, one, sharing["btrfs"]...)
	vm.Run(t, "mount", "-o", "remount,compress-force=zstd", dir)
	data := bytes.Repeat([]byte("as often as you like, "), size/22+1)[:size]
	copy(data[3*mib:], content(1, 100*kib))
	src, dst := write(t, data, dir, "src"), write(t, content(2, size), dir, "dst")
	expect(t, run(t, "--verify", "full", src, dst), size, 0, "")
	holds(t, dst, data)
	sameBlocks(t, src, 0, dst, 0, size)
	// A small file is kept with its metadata.
	small := write(t, data[:3000], dir, "small")
	vm.Run(t, "sync", "-f", dir)
	expect(t, run(t, small, write(t, content(3, 3000), dir, "small2")), 0, 3000, "limit:alignment")
	holds(t, filepath.Join(dir, "small2"), data[:3000])
}

// TestAttributes: what must not be written is refused before anything is.
func TestAttributes(t *testing.T) {
	each(t, func(t *testing.T, dir string) {
		const size = 1 * mib
		src, old := write(t, content(1, size), dir, "src"), content(2, size)
		for _, attribute := range []string{"i", "a"} {
			dst := write(t, old, dir, "dst-"+attribute)
			vm.Run(t, "chattr", "+"+attribute, dst)
			_, stderr, code := tryRun(t, src, dst)
			vm.Run(t, "chattr", "-"+attribute, dst)
			if code != 6 {
				t.Errorf("attribute %s: exit code %d: %s", attribute, code, stderr)
			}
			holds(t, dst, old)
		}
		// A source that cannot be changed can be shared.
		vm.Run(t, "chattr", "+i", src)
		expect(t, run(t, src, filepath.Join(dir, "copy")), size, 0, "")
		vm.Run(t, "chattr", "-i", src)
	})
}

// TestSwapFile: swap space is neither written nor shared.
func TestSwapFile(t *testing.T) {
	const size = 16 * mib
	dir := mounted(t, one, sharing["xfs"]...)
	swap := write(t, content(1, size), dir, "swap")
	vm.Run(t, "chmod", "600", swap)
	vm.Run(t, "mkswap", swap)
	vm.Run(t, "swapon", swap)
	other := write(t, content(2, size), dir, "other")
	_, stderr, code := tryRun(t, other, swap)
	r, _, sourceCode := tryRun(t, "--live-source", swap, other)
	vm.Run(t, "swapoff", swap)
	if code != 6 || !strings.Contains(stderr, "it is swap space") {
		t.Errorf("onto swap space: exit code %d: %s", code, stderr)
	}
	if sourceCode != 0 || r.Offloaded != 0 || reason(r, "file:in-use") != size {
		t.Errorf("from swap space: exit code %d: %+v", sourceCode, r)
	}
}

// TestNoRoom: a file system that is full, and one that becomes so in the middle of a
// copy. What is reported as copied was copied; else there is an error.
func TestNoRoom(t *testing.T) {
	each(t, func(t *testing.T, dir string) {
		const size = 16 * mib
		data := content(1, size)
		src := write(t, data, dir, "src")
		// In many pieces, so that sharing takes metadata.
		punched, err := os.OpenFile(src, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for at := int64(0); at < size; at += 64 * kib {
			clear(data[at:][:4*kib])
			if err := unix.Fallocate(int(punched.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, 4*kib); err != nil {
				t.Fatal(err)
			}
		}
		if err := punched.Close(); err != nil {
			t.Fatal(err)
		}
		dst := write(t, content(2, size), dir, "dst")
		allHole, fresh := truncate(t, size, dir, "allhole"), truncate(t, size, dir, "fresh")
		for _, name := range []string{"fill", "fill2"} {
			write(t, nil, dir, name)
		}
		vm.Run(t, "sync", "-f", dir)
		fill(t, dir, "fill")
		if r, stderr, code := tryRun(t, src, dst); code == 0 {
			holds(t, dst, data)
		} else if code != 1 || len(r.Errors) == 0 || !strings.Contains(stderr, "no space left") {
			t.Errorf("exit code %d: %s%+v", code, stderr, r)
		}
		// Sharing has given room back.
		fill(t, dir, "fill2")
		if r, stderr, code := tryRun(t, src, allHole); code == 0 {
			holds(t, allHole, data)
		} else if code != 1 || len(r.Errors) == 0 || !strings.Contains(stderr, "no space left") {
			t.Errorf("exit code %d: %s%+v", code, stderr, r)
		}
		// Out of phase the host has to write, into a file that has no blocks yet.
		r, stderr, code := tryRun(t, "--range", "0:512:15M", src, fresh)
		if code != 1 || len(r.Errors) == 0 || !strings.Contains(stderr, "no space left") {
			t.Errorf("exit code %d: %s%+v", code, stderr, r)
		}
	})
}

// fill leaves no room in a file system.
func fill(t *testing.T, dir, name string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := int64(0)
	for n := int64(64 * mib); n >= kib; {
		err := unix.Fallocate(int(f.Fd()), 0, at, n)
		switch {
		case err == nil:
			at += n
		case errors.Is(err, unix.ENOSPC):
			n /= 2
		default:
			t.Fatal(err)
		}
	}
	vm.Run(t, "sync", "-f", dir)
}

// TestOverlay: it hands calls down to what is below, and does not tell what that is.
func TestOverlay(t *testing.T) {
	const size = 4 * mib
	dir, top := mounted(t, one, sharing["btrfs"]...), t.TempDir()
	for _, name := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	data := content(1, size)
	write(t, data, dir, "lower", "src")
	write(t, content(2, size), dir, "lower", "dst")
	vm.Run(t, "mount", "-t", "overlay", "overlay", "-o", fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", dir, dir, dir), top)
	t.Cleanup(func() { vm.Run(t, "umount", top) })
	expect(t, run(t, filepath.Join(top, "src"), filepath.Join(top, "dst")), 0, size, "domain:file-system")
	holds(t, filepath.Join(top, "dst"), data)
}
