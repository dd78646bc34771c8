package zones

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
