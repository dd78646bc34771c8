package hostcopy

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
