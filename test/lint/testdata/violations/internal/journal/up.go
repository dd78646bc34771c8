package journal

import (
	_ "github.com/dmcopy/dmcopy/remap" // what the copy is between
	_ "golang.org/x/sys/unix"
)
