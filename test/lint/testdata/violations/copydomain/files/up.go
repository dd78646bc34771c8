package files

import (
	_ "github.com/dmcopy/dmcopy/copydomain" // upwards
	_ "unsafe"                              // outside of uapi.go
)
