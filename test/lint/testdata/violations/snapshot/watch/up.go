package watch

import (
	_ "github.com/dmcopy/dmcopy/dmtable"
	_ "github.com/dmcopy/dmcopy/remap"
	_ "github.com/dmcopy/dmcopy/snapshot" // a layout
)
