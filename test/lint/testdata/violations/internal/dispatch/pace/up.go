package pace

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
