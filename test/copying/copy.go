// Package copying copies one device to another within a test: in this process, or by the program.
package copying

import (
	"context"
	"errors"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/kernel"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/internal/sysblock"
)

// Patience bounds a copy; it is no measure.
const Patience = 5 * time.Minute

// A Way is what a copy is made with. The zero value is what most copies need.
type Way struct {
	Reader  layout.Options
	Between func(machine.Machine) machine.Machine // puts something between the copy and the machine; nil puts nothing
}

// Copy copies as the command does, and lets both ends go before it returns. Without ranges it copies all.
func Copy(src, dst string, opts dispatch.Options, ranges ...byterange.Range) (*account.Report, error) {
	return Way{}.Copy(src, dst, opts, ranges...)
}

// Copy is [Copy] with what the way says.
func (w Way) Copy(src, dst string, opts dispatch.Options, ranges ...byterange.Range) (report *account.Report, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	from, err := ends.OpenSource(ctx, sysblock.FS(""), src, ends.OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := ends.OpenDestination(ctx, sysblock.FS(""), dst, ends.OpenOptions{Beside: from})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	reader := layout.NewReader(w.Reader)
	kernel := kernel.New(reader, opts.Log)
	defer func() { err = errors.Join(err, kernel.Close(), reader.Close()) }()
	var machine machine.Machine = kernel
	if w.Between != nil {
		machine = w.Between(kernel)
	}
	return dispatch.New(machine).Copy(ctx, dispatch.Job{Src: from, Dst: to, Ranges: ranges}, opts)
}

// AddsUp tells whether a report accounts for each byte once.
func AddsUp(r *account.Report) bool {
	return r.Offloaded+r.Host+r.Zeroed+r.Skipped == r.Total
}
