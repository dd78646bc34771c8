package blockio

import (
	_ "github.com/dmcopy/dmcopy/remap" // ioctls know nothing of stacks
)
