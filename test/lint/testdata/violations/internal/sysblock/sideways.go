package sysblock

import (
	_ "github.com/dmcopy/dmcopy/dmtable" // two readers of layouts
)
