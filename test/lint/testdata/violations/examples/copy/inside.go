package main

import (
	_ "github.com/dmcopy/dmcopy/dispatch"
	_ "github.com/dmcopy/dmcopy/internal/blockio" // what no stranger can import
)
