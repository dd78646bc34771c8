package remap

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // a test reaches up
	_ "time"
)
