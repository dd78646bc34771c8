package byterange

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
