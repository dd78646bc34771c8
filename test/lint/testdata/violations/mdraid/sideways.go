package mdraid

import (
	_ "github.com/dmcopy/dmcopy/internal/raidmap"
	_ "github.com/dmcopy/dmcopy/internal/sysblock" // two readers of sysfs
	_ "github.com/dmcopy/dmcopy/remap"
)
