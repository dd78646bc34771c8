package failure

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
