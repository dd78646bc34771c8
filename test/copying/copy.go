// Package copying copies one device to another within a test: in this process, or by the program.
package copying

import (
	"context"
	"errors"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/snapshot"
	"github.com/dmcopy/dmcopy/sysblock"
)

// Patience bounds a copy; it is no measure.
const Patience = 5 * time.Minute

// A Way is what a copy is made with. The zero value is what most copies need.
type Way struct {
	Reader  snapshot.Options
	Between func(dispatch.Machine) dispatch.Machine // puts something between the copy and the machine; nil puts nothing
}

// Copy copies as the command does, and lets both ends go before it returns. Without ranges it copies all.
func Copy(src, dst string, opts dispatch.Options, ranges ...dispatch.Range) (*dispatch.Report, error) {
	return Way{}.Copy(src, dst, opts, ranges...)
}

// Copy is [Copy] with what the way says.
func (w Way) Copy(src, dst string, opts dispatch.Options, ranges ...dispatch.Range) (report *dispatch.Report, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	from, err := dispatch.OpenSource(ctx, sysblock.FS(""), src, dispatch.OpenOptions{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := dispatch.OpenDestination(ctx, sysblock.FS(""), dst, dispatch.OpenOptions{Beside: from})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	reader := snapshot.NewReader(w.Reader)
	kernel := dispatch.NewMachine(reader, opts.Log)
	defer func() { err = errors.Join(err, kernel.Close(), reader.Close()) }()
	var machine dispatch.Machine = kernel
	if w.Between != nil {
		machine = w.Between(kernel)
	}
	return dispatch.New(machine, opts).Copy(ctx, dispatch.Job{Src: from, Dst: to, Ranges: ranges})
}

// AddsUp tells whether a report accounts for each byte once.
func AddsUp(r *dispatch.Report) bool {
	return r.Offloaded+r.Host+r.Zeroed+r.Skipped == r.Total
}
