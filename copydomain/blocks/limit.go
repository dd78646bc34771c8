package blocks

import "github.com/dmcopy/dmcopy/internal/boottime"

type (
	// Instant is a moment of CLOCK_BOOTTIME, which runs on while the process is stopped and while
	// the machine sleeps.
	Instant = boottime.Instant
	// Limit tells until when a command may be begun. It is asked right before each; nil is
	// forever.
	Limit = boottime.Limit
)
