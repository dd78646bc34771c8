package blocks

import "errors"

var (
	// ErrNotIssued says that the device has certainly not seen the command. An
	// error of a transport without it leaves the fate of the command unknown:
	// it may still be running.
	ErrNotIssued = errors.New("command was not issued")

	// ErrInvalid is returned for arguments and device data that make no sense.
	ErrInvalid = errors.New("invalid")

	// ErrOverlap is returned when pieces of one batch overlap each other, or
	// those of another one that is under way.
	ErrOverlap = errors.New("ranges overlap")

	// ErrOutOfRange is returned for blocks beyond the end of a device.
	ErrOutOfRange = errors.New("beyond the end of the device")

	// ErrFenced is returned when a batch touches blocks that a command of
	// unknown fate may still write.
	ErrFenced = errors.New("range is fenced by a command of unknown fate")

	// ErrTimeout is the error of a command that did not come back in time.
	ErrTimeout = errors.New("command did not come back in time")
)
