package sysfs

import (
	_ "github.com/dmcopy/dmcopy/internal/sysblock" // what attributes mean
)
