package durable

import (
	_ "github.com/dmcopy/dmcopy/internal/blockio" // whose file it is does not matter
	_ "golang.org/x/sys/unix"
)
