package sysblocktest

import (
	_ "github.com/dmcopy/dmcopy/snapshot" // upwards
)
