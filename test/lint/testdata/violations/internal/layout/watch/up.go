package watch

import (
	_ "github.com/dmcopy/dmcopy/dmtable"
	_ "github.com/dmcopy/dmcopy/internal/layout" // a layout
	_ "github.com/dmcopy/dmcopy/remap"
)
