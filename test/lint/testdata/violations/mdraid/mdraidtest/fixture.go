package mdraidtest

import (
	_ "github.com/dmcopy/dmcopy/mdraid" // a fixture that shares code with its reader
	_ "testing"
)
