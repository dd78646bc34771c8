package scsi

import (
	"structs"
	"unsafe"
)

// sgIOHdr mirrors struct sg_io_hdr of <scsi/sg.h>.
type sgIOHdr struct {
	_ structs.HostLayout

	interfaceID    int32 // 'S'
	dxferDirection int32
	cmdLen         uint8
	mxSbLen        uint8
	iovecCount     uint16
	dxferLen       uint32
	dxferp         uintptr
	cmdp           uintptr
	sbp            uintptr
	timeout        uint32 // ms
	flags          uint32
	packID         int32
	usrPtr         uintptr
	status         uint8
	maskedStatus   uint8
	msgStatus      uint8
	sbLenWr        uint8
	hostStatus     uint16
	driverStatus   uint16
	resid          int32
	duration       uint32
	info           uint32
}

// Numbers of <scsi/sg.h>. They are older than the scheme of _IOWR and the same on
// every architecture.
const (
	ioctlSGIO = 0x2285

	dxferNone    = -1
	dxferToDev   = -2
	dxferFromDev = -3
)

// Majors of <linux/major.h>: SCSI_DISK0_MAJOR, then seven from each of 65 and 128,
// and SCSI_GENERIC_MAJOR.
const (
	majorDisk0   = 8
	majorDisk1   = 65
	majorDisk7   = 71
	majorDisk8   = 128
	majorDisk15  = 135
	majorGeneric = 21
)

// diskMinors are the minors of a disk and its partitions (drivers/scsi/sd.h,
// SD_MINORS).
const diskMinors = 16

// The layout depends on the size of a pointer, as that of the C struct does.
const (
	pointer       = unsafe.Sizeof(uintptr(0))
	sizeofSGIOHdr = 40 + 6*pointer
	offsetTimeout = 16 + 3*pointer
	offsetStatus  = 24 + 5*pointer
)

// The build fails here (a constant overflows) when the layout is wrong.
const (
	_ = uint(unsafe.Sizeof(sgIOHdr{})-sizeofSGIOHdr) + uint(sizeofSGIOHdr-unsafe.Sizeof(sgIOHdr{}))
	_ = uint(unsafe.Offsetof(sgIOHdr{}.dxferp)-16) + uint(16-unsafe.Offsetof(sgIOHdr{}.dxferp))
	_ = uint(unsafe.Offsetof(sgIOHdr{}.timeout)-offsetTimeout) + uint(offsetTimeout-unsafe.Offsetof(sgIOHdr{}.timeout))
	_ = uint(unsafe.Offsetof(sgIOHdr{}.status)-offsetStatus) + uint(offsetStatus-unsafe.Offsetof(sgIOHdr{}.status))
	_ = uint(unsafe.Offsetof(sgIOHdr{}.resid)-offsetStatus-8) + uint(offsetStatus+8-unsafe.Offsetof(sgIOHdr{}.resid))
)
