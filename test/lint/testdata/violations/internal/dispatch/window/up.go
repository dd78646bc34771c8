package window

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
