package blocks

import (
	_ "github.com/dmcopy/dmcopy/copydomain/nvme" // upwards
	_ "golang.org/x/sys/unix"                    // outside of outcome.go
)
