package sysblock

import (
	"strings"

	"github.com/dmcopy/dmcopy/internal/sysfs"
)

// FS is the directory that has sys, dev and proc below it. The empty FS is
// the root of this machine.
type FS string

// Root is where the attributes of devices are found.
func (f FS) Root() sysfs.Root { return sysfs.Root(f) }

// DevPath is the node of the device with the kernel's name: "/dev/nvme0n1". A
// "!" in such names stands for a slash (drivers/base/core.c, device_get_devnode).
func DevPath(name string) string { return "/dev/" + strings.ReplaceAll(name, "!", "/") }

// Device is the node below the root of the device with the kernel's name.
func (f FS) Device(name string) string { return f.Root().Path(DevPath(name)) }
