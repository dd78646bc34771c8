package offload

import (
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
)
