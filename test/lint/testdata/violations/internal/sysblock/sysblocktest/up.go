package sysblocktest

import (
	_ "github.com/dmcopy/dmcopy/internal/layout" // upwards
)
