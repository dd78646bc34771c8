package nvme

import (
	"context"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Flush makes durable what the namespace has in its cache. Like any command it has to
// come back within the timeout and a grace period; the kernel may need longer to give
// it up (drivers/nvme/host/pci.c, nvme_timeout).
func (d *Device) Flush(ctx context.Context, timeout time.Duration) error {
	o := blocks.Options{Timeout: timeout}.Or(defaults)
	return await(ctx, "flush", o.Timeout+o.Grace, &Command{Opcode: OpFlush, NSID: d.NSID, Timeout: o.Timeout}, d.Transport.IO)
}
