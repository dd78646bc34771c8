package copydomain

import (
	_ "github.com/dmcopy/dmcopy/copydomain/nvme"
	_ "github.com/dmcopy/dmcopy/dispatch" // upwards
	_ "golang.org/x/sys/unix"             // commands are sent below
)
