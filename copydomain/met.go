package copydomain

import (
	"errors"
	"io"
	"maps"
	"time"

	"github.com/dmcopy/dmcopy/remap"
)

// keepFailures is how long a leaf that could not be identified is not asked again.
const keepFailures = 10 * time.Minute

// met is how a leaf looked when it was identified. A finder can outlive what it knows: a disk
// grows, is replaced, or answers again.
type met struct {
	print  remap.Fingerprint
	failed bool // it could not be identified
	at     time.Time
}

func meet(leaf *remap.Node, failed bool) met { return met{leaf.Print, failed, time.Now()} }

// stands tells whether what was found out about a leaf counts still.
func (m met) stands(leaf *remap.Node) bool {
	return m.print == leaf.Print && !(m.failed && time.Since(m.at) > keepFailures)
}

// forget drops what is kept for pairs with a leaf.
func forget[V any](pairs map[[2]remap.Dev]V, dev remap.Dev) {
	maps.DeleteFunc(pairs, func(key [2]remap.Dev, _ V) bool { return key[0] == dev || key[1] == dev })
}

// retired are transports that led to leaves which are others by now. They stay open until the
// end: somebody may be using them.
type retired []io.Closer

func (r *retired) close() error {
	var errs []error
	for _, transport := range *r {
		errs = append(errs, transport.Close())
	}
	*r = nil
	return errors.Join(errs...)
}
