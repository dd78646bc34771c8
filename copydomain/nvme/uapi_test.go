package nvme

import (
	"testing"
	"unsafe"
)

// Numbers as the C compiler gives them for <linux/nvme_ioctl.h> on x86-64.
func TestIoctlNumbers(t *testing.T) {
	for _, tc := range []struct {
		name      string
		got, want uint
	}{
		{"NVME_IOCTL_ADMIN_CMD", ioctlAdmin, 0xC0484E41},
		{"NVME_IOCTL_IO_CMD", ioctlIO, 0xC0484E43},
		{"NVME_IOCTL_ADMIN64_CMD", ioctlAdmin64, 0xC0504E47},
		{"NVME_IOCTL_IO64_CMD", ioctlIO64, 0xC0504E48},
		{"NVME_IOCTL_ID", ioctlID & 0xFFFF, 0x4E40},
	} {
		if tc.got != tc.want {
			t.Errorf("%s = %#x, want %#x", tc.name, tc.got, tc.want)
		}
	}
}

// Offsets from the structs in the header, field by field.
func TestPassthruOffsets(t *testing.T) {
	var c passthruCmd
	var d passthruCmd64
	for _, tc := range []struct {
		name         string
		off32, off64 uintptr
		want         uintptr
	}{
		{"opcode", unsafe.Offsetof(c.opcode), unsafe.Offsetof(d.opcode), 0},
		{"flags", unsafe.Offsetof(c.flags), unsafe.Offsetof(d.flags), 1},
		{"rsvd1", unsafe.Offsetof(c.rsvd1), unsafe.Offsetof(d.rsvd1), 2},
		{"nsid", unsafe.Offsetof(c.nsid), unsafe.Offsetof(d.nsid), 4},
		{"cdw2", unsafe.Offsetof(c.cdw2), unsafe.Offsetof(d.cdw2), 8},
		{"cdw3", unsafe.Offsetof(c.cdw3), unsafe.Offsetof(d.cdw3), 12},
		{"metadata", unsafe.Offsetof(c.metadata), unsafe.Offsetof(d.metadata), 16},
		{"addr", unsafe.Offsetof(c.addr), unsafe.Offsetof(d.addr), 24},
		{"metadata_len", unsafe.Offsetof(c.metadataLen), unsafe.Offsetof(d.metadataLen), 32},
		{"data_len", unsafe.Offsetof(c.dataLen), unsafe.Offsetof(d.dataLen), 36},
		{"cdw10", unsafe.Offsetof(c.cdw10), unsafe.Offsetof(d.cdw10), 40},
		{"cdw11", unsafe.Offsetof(c.cdw11), unsafe.Offsetof(d.cdw11), 44},
		{"cdw12", unsafe.Offsetof(c.cdw12), unsafe.Offsetof(d.cdw12), 48},
		{"cdw13", unsafe.Offsetof(c.cdw13), unsafe.Offsetof(d.cdw13), 52},
		{"cdw14", unsafe.Offsetof(c.cdw14), unsafe.Offsetof(d.cdw14), 56},
		{"cdw15", unsafe.Offsetof(c.cdw15), unsafe.Offsetof(d.cdw15), 60},
		{"timeout_ms", unsafe.Offsetof(c.timeoutMs), unsafe.Offsetof(d.timeoutMs), 64},
	} {
		if tc.off32 != tc.want || tc.off64 != tc.want {
			t.Errorf("%s at %d and %d, want %d", tc.name, tc.off32, tc.off64, tc.want)
		}
	}
}
