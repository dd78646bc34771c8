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

// identified says how a leaf looked when it was identified. A finder can outlive what it knows of
// a disk: the disk grows, is replaced, or answers again.
type identified struct {
	print  remap.Fingerprint
	failed bool // it could not be identified
	at     time.Time
}

func identifiedNow(leaf *remap.Node, failed bool) identified {
	return identified{leaf.Print, failed, time.Now()}
}

// current tells whether what was found out about a leaf still counts.
func (i identified) current(leaf *remap.Node) bool {
	return i.print == leaf.Print && !(i.failed && time.Since(i.at) > keepFailures)
}

// forget drops what is kept for pairs with a leaf.
func forget[V any](pairs map[[2]remap.Dev]V, dev remap.Dev) {
	maps.DeleteFunc(pairs, func(key [2]remap.Dev, _ V) bool { return key[0] == dev || key[1] == dev })
}

// replacedTransports led to leaves that were identified again since. They stay open until the
// finder is closed: a copy may be using them.
type replacedTransports []io.Closer

func (r *replacedTransports) close() error {
	var errs []error
	for _, transport := range *r {
		errs = append(errs, transport.Close())
	}
	*r = nil
	return errors.Join(errs...)
}
