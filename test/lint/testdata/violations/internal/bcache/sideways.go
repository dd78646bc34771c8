package bcache

import (
	_ "github.com/dmcopy/dmcopy/mdraid" // another kind of device
	_ "github.com/dmcopy/dmcopy/remap"
)
