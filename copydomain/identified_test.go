package copydomain

import (
	"errors"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/nvme"
	"github.com/dmcopy/dmcopy/remap"
)

// TestCopierOfAnother: a disk that another copy has found to be another one since this one has planned gets no
// commands of it.
func TestCopierOfAnother(t *testing.T) {
	leaf := &remap.Node{Dev: remap.Dev{Major: 259}, Name: "nvme0n1"}
	for name, found := range map[string]probed{
		"mistaken":     {device: new(nvme.Device), reason: ReasonIdentity, detail: "another serial"},
		"another look": {device: new(nvme.Device), print: remap.Fingerprint{1}},
	} {
		l := leaves[*nvme.Device, nvme.Transport, *nvme.Copier]{found: map[remap.Dev]probed{leaf.Dev: found}}
		var gone *Withdrawn
		_, _, err := l.copier(Pair{Src: leaf, Dst: leaf}, func([2]*nvme.Device) (*nvme.Copier, error) {
			t.Errorf("%s: a copier is made", name)
			return nil, nil
		})
		if !errors.As(err, &gone) || gone.Reason != ReasonIdentity {
			t.Errorf("%s: %v", name, err)
		}
	}
}
