package dmtable

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Kernel runs device-mapper commands. The request and the reply share buf,
// which starts with a struct dm_ioctl (include/uapi/linux/dm-ioctl.h) and is
// as long as its data_size says. [Open] uses the kernel of this machine; tests
// bring their own.
type Kernel interface {
	// Ioctl runs one command, such as unix.DM_TABLE_STATUS. It fails with
	// the errno of the kernel.
	Ioctl(command uint, buf []byte) error
	Close() error
}

// controlNode is the character device of the dm ioctls (drivers/md/dm-ioctl.c,
// _dm_misc). Opening it loads the module.
const controlNode = "/dev/mapper/control"

// Where the fields of struct dm_ioctl and of the records behind it are.
const (
	offVersion     = unsafe.Offsetof(unix.DmIoctl{}.Version)
	offDataSize    = unsafe.Offsetof(unix.DmIoctl{}.Data_size)
	offDataStart   = unsafe.Offsetof(unix.DmIoctl{}.Data_start)
	offTargetCount = unsafe.Offsetof(unix.DmIoctl{}.Target_count)
	offOpenCount   = unsafe.Offsetof(unix.DmIoctl{}.Open_count)
	offFlags       = unsafe.Offsetof(unix.DmIoctl{}.Flags)
	offDev         = unsafe.Offsetof(unix.DmIoctl{}.Dev)
	offName        = unsafe.Offsetof(unix.DmIoctl{}.Name)
	offUUID        = unsafe.Offsetof(unix.DmIoctl{}.Uuid)
	offData        = unsafe.Offsetof(unix.DmIoctl{}.Data)
	sizeofHeader   = unsafe.Sizeof(unix.DmIoctl{})

	offSpecStart  = unsafe.Offsetof(unix.DmTargetSpec{}.Sector_start)
	offSpecLength = unsafe.Offsetof(unix.DmTargetSpec{}.Length)
	offSpecNext   = unsafe.Offsetof(unix.DmTargetSpec{}.Next)
	offSpecType   = unsafe.Offsetof(unix.DmTargetSpec{}.Target_type)
	sizeofSpec    = unsafe.Sizeof(unix.DmTargetSpec{})

	sizeofDeps = unsafe.Sizeof(unix.DmTargetDeps{})
)

// The layout is one for all architectures; the build stops where it is not.
const (
	_ = uint(sizeofHeader-312) + uint(312-sizeofHeader)
	_ = uint(offDev-40) + uint(40-offDev)
	_ = uint(offUUID-176) + uint(176-offUUID)
	_ = uint(offData-305) + uint(305-offData)
	_ = uint(sizeofSpec-40) + uint(40-sizeofSpec)
	_ = uint(offSpecType-24) + uint(24-offSpecType)
	_ = uint(sizeofDeps-8) + uint(8-sizeofDeps)
)

// control is the kernel of this machine.
type control struct{ file *os.File }

func openControl() (control, error) {
	f, err := os.OpenFile(controlNode, os.O_RDWR, 0)
	return control{f}, err
}

func (c control) Ioctl(command uint, buf []byte) error {
	defer runtime.KeepAlive(c.file)
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, c.file.Fd(), uintptr(command), uintptr(unsafe.Pointer(unsafe.SliceData(buf))))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return os.NewSyscallError("ioctl", errno)
	}
}

func (c control) Close() error { return c.file.Close() }
