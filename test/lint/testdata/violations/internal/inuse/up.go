package inuse

import (
	_ "github.com/dmcopy/dmcopy/internal/layout" // tables of users
)
