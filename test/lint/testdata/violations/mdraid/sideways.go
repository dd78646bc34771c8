package mdraid

import (
	_ "github.com/dmcopy/dmcopy/raidmap"
	_ "github.com/dmcopy/dmcopy/remap"
	_ "github.com/dmcopy/dmcopy/sysblock" // two readers of sysfs
)
