package vm

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Partition tells the kernel of a partition of length bytes from start, for tools that want whole devices, and returns its
// path. It is gone with the test; no table is written to the disk.
func Partition(t testing.TB, disk string, number int32, start, length int64) string {
	t.Helper()
	what := fmt.Sprintf("partition %d of %s at byte %d, %d bytes", number, disk, start, length)
	if err := partition(disk, unix.BLKPG_ADD_PARTITION, number, start, length); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	t.Cleanup(func() {
		// Some targets let go of their devices a moment after they are gone.
		Eventually(t, "end of "+what, func() error {
			err := partition(disk, unix.BLKPG_DEL_PARTITION, number, start, length)
			if errors.Is(err, unix.ENXIO) {
				return nil // udev had the kernel read the table of the disk, and the partition is not in there
			}
			return err
		})
	})
	if last := disk[len(disk)-1]; '0' <= last && last <= '9' {
		return fmt.Sprintf("%sp%d", disk, number)
	}
	return fmt.Sprintf("%s%d", disk, number)
}

// partition changes what the kernel knows of a disk (include/uapi/linux/blkpg.h).
func partition(disk string, op, number int32, start, length int64) error {
	f, err := os.Open(disk)
	if err != nil {
		return err
	}
	defer f.Close()
	p := unix.BlkpgPartition{Start: start, Length: length, Pno: number}
	arg := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(p)), Data: (*byte)(unsafe.Pointer(&p))}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		return errno
	}
	return nil
}
