package record

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
