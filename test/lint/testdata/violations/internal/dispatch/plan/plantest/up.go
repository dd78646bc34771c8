package plantest

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
