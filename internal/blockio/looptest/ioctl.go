package looptest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Partition tells the kernel of a partition of a loop device, length bytes from start, and
// returns its node. It goes away with the loop device.
func Partition(t testing.TB, loop string, number int32, start, length int64) string {
	t.Helper()
	f, err := os.OpenFile(loop, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	info.Flags |= unix.LO_FLAGS_PARTSCAN // without it there are none
	if err := unix.IoctlLoopSetStatus64(int(f.Fd()), info); err != nil {
		t.Fatal(err)
	}
	p := unix.BlkpgPartition{Start: start, Length: length, Pno: number}
	arg := unix.BlkpgIoctlArg{Op: unix.BLKPG_ADD_PARTITION, Datalen: int32(unsafe.Sizeof(p)), Data: (*byte)(unsafe.Pointer(&p))}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		t.Fatal(errno)
	}
	return node(t, fmt.Sprintf("%sp%d", loop, number))
}

// Move has a loop device show so many bytes of its file from an offset. It gets no data along.
func Move(t testing.TB, loop string, offset, size uint64) {
	t.Helper()
	f, err := os.OpenFile(loop, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	info.Offset, info.Sizelimit = offset, size
	err = unix.EAGAIN // as long as there are pages to be written (drivers/block/loop.c, loop_set_status)
	for errors.Is(err, unix.EAGAIN) {
		err = unix.IoctlLoopSetStatus64(int(f.Fd()), info)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// node makes the node of a device, unless somebody has.
func node(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile("/sys/class/block/" + filepath.Base(path) + "/dev")
	if err != nil {
		t.Fatal(err)
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(strings.TrimSpace(string(text)), "%d:%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	err = unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor)))
	if err == nil {
		t.Cleanup(func() { os.Remove(path) })
	} else if !errors.Is(err, unix.EEXIST) {
		t.Fatal(err)
	}
	return path
}
