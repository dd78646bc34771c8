package inflight

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
