package nvme

import (
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// passthruCmd mirrors struct nvme_passthru_cmd of <linux/nvme_ioctl.h>.
type passthruCmd struct {
	_ structs.HostLayout

	opcode      uint8
	flags       uint8 // must be 0, else EINVAL
	rsvd1       uint16
	nsid        uint32
	cdw2        uint32
	cdw3        uint32
	metadata    uint64
	addr        uint64
	metadataLen uint32
	dataLen     uint32
	cdw10       uint32
	cdw11       uint32
	cdw12       uint32
	cdw13       uint32
	cdw14       uint32
	cdw15       uint32
	timeoutMs   uint32
	result      uint32
}

// passthruCmd64 mirrors struct nvme_passthru_cmd64 of <linux/nvme_ioctl.h>.
type passthruCmd64 struct {
	_ structs.HostLayout

	opcode      uint8
	flags       uint8
	rsvd1       uint16
	nsid        uint32
	cdw2        uint32
	cdw3        uint32
	metadata    uint64
	addr        uint64
	metadataLen uint32
	dataLen     uint32 // a union with vec_cnt, which only the _VEC ioctl reads
	cdw10       uint32
	cdw11       uint32
	cdw12       uint32
	cdw13       uint32
	cdw14       uint32
	cdw15       uint32
	timeoutMs   uint32
	rsvd2       uint32
	result      uint64
}

const (
	sizeofPassthruCmd   = 72
	sizeofPassthruCmd64 = 80
)

// ioctl numbers of <linux/nvme_ioctl.h>.
//
//	#define NVME_IOCTL_ID           _IO('N', 0x40)
//	#define NVME_IOCTL_ADMIN_CMD    _IOWR('N', 0x41, struct nvme_admin_cmd)
//	#define NVME_IOCTL_IO_CMD       _IOWR('N', 0x43, struct nvme_passthru_cmd)
//	#define NVME_IOCTL_ADMIN64_CMD  _IOWR('N', 0x47, struct nvme_passthru_cmd64)
//	#define NVME_IOCTL_IO64_CMD     _IOWR('N', 0x48, struct nvme_passthru_cmd64)
//
// The direction bits of _IOWR are the same on every architecture; those of _IO
// are not, so they are taken from an _IO number that x/sys knows.
const (
	iowr    = 0xC0000000
	iocNone = unix.BLKFLSBUF &^ 0xFFFF

	ioctlID      = iocNone | 'N'<<8 | 0x40
	ioctlAdmin   = iowr | sizeofPassthruCmd<<16 | 'N'<<8 | 0x41
	ioctlIO      = iowr | sizeofPassthruCmd<<16 | 'N'<<8 | 0x43
	ioctlAdmin64 = iowr | sizeofPassthruCmd64<<16 | 'N'<<8 | 0x47
	ioctlIO64    = iowr | sizeofPassthruCmd64<<16 | 'N'<<8 | 0x48
)

// The build fails here (a constant overflows) when a layout is wrong.
const (
	_ = uint(unsafe.Sizeof(passthruCmd{})-sizeofPassthruCmd) + uint(sizeofPassthruCmd-unsafe.Sizeof(passthruCmd{}))
	_ = uint(unsafe.Offsetof(passthruCmd{}.addr)-24) + uint(24-unsafe.Offsetof(passthruCmd{}.addr))
	_ = uint(unsafe.Offsetof(passthruCmd{}.cdw10)-40) + uint(40-unsafe.Offsetof(passthruCmd{}.cdw10))
	_ = uint(unsafe.Offsetof(passthruCmd{}.result)-68) + uint(68-unsafe.Offsetof(passthruCmd{}.result))

	_ = uint(unsafe.Sizeof(passthruCmd64{})-sizeofPassthruCmd64) + uint(sizeofPassthruCmd64-unsafe.Sizeof(passthruCmd64{}))
	_ = uint(unsafe.Offsetof(passthruCmd64{}.addr)-24) + uint(24-unsafe.Offsetof(passthruCmd64{}.addr))
	_ = uint(unsafe.Offsetof(passthruCmd64{}.cdw10)-40) + uint(40-unsafe.Offsetof(passthruCmd64{}.cdw10))
	_ = uint(unsafe.Offsetof(passthruCmd64{}.timeoutMs)-64) + uint(64-unsafe.Offsetof(passthruCmd64{}.timeoutMs))
	_ = uint(unsafe.Offsetof(passthruCmd64{}.result)-72) + uint(72-unsafe.Offsetof(passthruCmd64{}.result))
)
