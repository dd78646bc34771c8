package ends

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
