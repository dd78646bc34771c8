package machine

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
