package proof

import (
	"errors"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/internal/dispatch/window"
	"github.com/dmcopy/dmcopy/internal/dispatch/zones"
	"github.com/dmcopy/dmcopy/remap"
)

// zone is a device with one zone that is written up to a byte.
type zone struct{ start, pointer int64 }

func (z *zone) Zones(int64, int64) ([]blockio.Zone, error) {
	return []blockio.Zone{{Start: z.start, Sequential: true, Pointer: z.start + z.pointer}}, nil
}

// TestZonesProve: in a zone, the pointer shows whether something was written, and how much.
func TestZonesProve(t *testing.T) {
	const start = 16 << 10
	z := &zone{start: start}
	v := &Prover{zones: zones.New(ends.Endpoint{Zones: z}, nil, nil, nil)}
	b := &window.Batch{Steps: []plan.Step{{DstOff: start, DstLeafOff: start, Len: 8 << 10}}}
	sample := copydomain.Move{Dst: remap.Sectors(start), Len: remap.Sectors(4 << 10)}
	for _, c := range []struct {
		at     int64
		before error
		passed bool
	}{{0, nil, false}, {512, ErrInconclusive, false}, {4 << 10, ErrInconclusive, true}, {8 << 10, ErrInconclusive, false}} {
		z.pointer = c.at
		err := v.differs(t.Context(), nil, nil, b, sample)
		passed, passedErr := v.passedBy(b, sample)
		if !errors.Is(err, c.before) || passed != c.passed || passedErr != nil {
			t.Errorf("%d bytes written: %v, passed %v, %v", c.at, err, passed, passedErr)
		}
	}
}
