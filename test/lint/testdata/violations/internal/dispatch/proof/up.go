package proof

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
