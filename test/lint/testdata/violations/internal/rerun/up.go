package rerun

import (
	_ "github.com/dmcopy/dmcopy/dispatch/hold" // upwards
)
