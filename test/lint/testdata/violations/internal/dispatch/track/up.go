package track

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
