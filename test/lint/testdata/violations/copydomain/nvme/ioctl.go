package nvme

import (
	_ "golang.org/x/sys/unix"
	_ "unsafe"
)
