package blocks

import (
	"cmp"
	"log/slog"
	"time"
)

// Options of a Copier. The zero value is usable.
type Options struct {
	// InFlight is the number of commands under way at once, over all calls of
	// Copy. Default 2: every one occupies a thread, and vendors advise against
	// crowding out ordinary I/O.
	InFlight int

	// Budget of the copy domain, which Copiers share; it may be nil.
	Budget *Budget

	// Timeout after which the kernel aborts a command. Default 2 minutes.
	Timeout time.Duration

	// Grace is how much longer than Timeout a command may take to come back,
	// for the kernel to abort it and, at worst, to reset the device. A command
	// that needs longer is fenced. The default is that of the protocol.
	Grace time.Duration

	// MaxCommandBytes bounds the bytes one command copies. The default is that
	// of the protocol; zero stands for the limits of the device only.
	MaxCommandBytes uint64

	// Logger; nil discards. Only what ends a batch early is logged.
	Logger *slog.Logger
}

// Or fills what is left open from what a protocol has instead, and the rest from
// what all have.
func (o Options) Or(protocol Options) Options {
	if o.InFlight <= 0 {
		o.InFlight = 2
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Minute
	}
	if o.Grace <= 0 {
		o.Grace = protocol.Grace
	}
	o.MaxCommandBytes = cmp.Or(o.MaxCommandBytes, protocol.MaxCommandBytes)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}
