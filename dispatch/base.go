package dispatch

import (
	"log/slog"

	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/hostcopy"
	"github.com/dmcopy/dmcopy/internal/dispatch/inflight"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/dispatch/pace"
	"github.com/dmcopy/dmcopy/internal/dispatch/record"
	"github.com/dmcopy/dmcopy/internal/dispatch/track"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/internal/dispatch/zones"
)

// base is what all parts of one copy share.
type base struct {
	job     Job
	opts    Options
	log     *slog.Logger
	machine machine.Machine // whose calls are counted
	calls   *inflight.Calls
	account *account.Account
	layout  *track.Layout
	host    *hostcopy.Host
	zones   *zones.Zones
	record  *record.Record
	pace    *pace.Pace
	window  *window.Window // the latest one
}
