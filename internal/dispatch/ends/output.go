package ends

import (
	"errors"
	"fmt"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/inuse"
)

// What the program writes its output to is no end of a copy: not even the reason for that
// may be written there.
var (
	ErrStdout = fmt.Errorf("%w: standard output goes there", failure.ErrRefused)
	ErrStderr = fmt.Errorf("%w: standard error goes there", failure.ErrRefused)
)

// refuseOutput refuses an end that the output of this program goes to.
func (o *opener) refuseOutput(uses []inuse.Use) error {
	var kinds []error
	var first inuse.Use
	for _, u := range uses {
		if u.Kind != inuse.Output {
			continue
		}
		first = u
		kinds = append(kinds, map[string]error{inuse.Stdout: ErrStdout, inuse.Stderr: ErrStderr}[u.Detail])
	}
	if len(kinds) == 0 {
		return nil
	}
	return &failure.Refusal{
		Thing: o.name, Reason: "would be written over: " + o.describe(first), Way: "have it written elsewhere", Kind: errors.Join(kinds...),
	}
}

// refuseOwnOutput is refuseOutput for an end that others may use as they like.
func (o *opener) refuseOwnOutput() error {
	if !inuse.HasOutputs(o.sys) {
		return nil
	}
	uses, err := o.uses()
	if err != nil {
		return err
	}
	return o.refuseOutput(uses)
}
