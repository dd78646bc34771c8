package kernel

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
