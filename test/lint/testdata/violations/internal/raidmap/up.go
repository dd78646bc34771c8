package raidmap

import (
	_ "github.com/dmcopy/dmcopy/dmtable" // upwards
	_ "github.com/dmcopy/dmcopy/remap"
)
