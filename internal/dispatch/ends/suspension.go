package ends

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/sysblock"
	"github.com/dmcopy/dmcopy/remap"
)

// resumePoll is how often a suspended device is looked at.
const resumePoll = 20 * time.Millisecond

// suspension is that of an end, or of a device that it rests on.
type suspension struct{ *opener }

// awaitEnd waits for a device that is suspended, or rests on one that is: any I/O
// would hang until somebody resumes it. Who changes a layout does so soon. It is
// refused if it stays so.
func (s suspension) awaitEnd(ctx context.Context) error {
	for deadline := time.Now().Add(s.patience); ; {
		f, err := s.below()
		switch {
		case err != nil || f == nil:
			return err
		case time.Now().After(deadline):
			return s.refusal(f)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: waiting for %s, which is suspended", failure.Interrupted(ctx), f.Name)
		case <-time.After(resumePoll):
		}
	}
}

// below finds a suspended device among the device and all that are known
// below it. One that is gone since is below nothing any more.
func (s suspension) below() (*sysblock.Facts, error) {
	seen := make(map[remap.Dev]bool)
	for queue := []remap.Dev{s.facts.Dev}; len(queue) > 0; queue = queue[1:] {
		if seen[queue[0]] {
			continue
		}
		seen[queue[0]] = true
		f, err := s.sys.Facts(queue[0])
		switch {
		case errors.Is(err, sysblock.ErrGone) && queue[0] != s.facts.Dev:
			continue
		case err != nil:
			return nil, s.refuseUnfound(err)
		}
		is, err := s.is(f)
		switch {
		case err != nil:
			return nil, failure.During("open", err)
		case is:
			return f, nil
		}
		queue = append(queue, f.Slaves...)
		if f.Part != nil {
			queue = append(queue, f.Part.Parent)
		}
	}
	return nil, nil
}

// is reads an attribute of dm (Documentation/ABI/testing/sysfs-block-dm).
// The read answers while the device is suspended. The file comes after its device and
// goes before it, so that who cannot read it has a device that comes or goes. The
// snapshot asks device-mapper itself.
func (s suspension) is(f *sysblock.Facts) (bool, error) {
	if f.Kind != sysblock.DM {
		return false, nil
	}
	text, err := s.sys.Root().Block(f.Dev).Text("dm/suspended")
	if err != nil {
		return false, nil
	}
	switch value := text; value {
	case "0":
		return false, nil
	case "1":
		return true, nil
	default:
		return false, fmt.Errorf("%s: dm/suspended holds %q", f.Name, value)
	}
}

func (s suspension) refusal(f *sysblock.Facts) error {
	const way = "wait until the change of its layout is over, or run: dmsetup resume /dev/%s"
	if f.Dev == s.facts.Dev {
		return failure.Refuse(s.name, "is suspended: I/O to it would hang", fmt.Sprintf(way, f.Name))
	}
	return failure.Refuse(s.name, "rests on %s, which is suspended: I/O to it would hang", fmt.Sprintf(way, f.Name), f.Name)
}
