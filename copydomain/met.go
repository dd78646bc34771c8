package copydomain

import (
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

// retire keeps what led to a leaf that is another one by now until the end: somebody may be
// using it. New copiers are made for the leaf as it is.
func (f *Finder) retire(dev remap.Dev, transport io.Closer) {
	if transport != nil {
		f.retired = append(f.retired, transport)
	}
	concerned := func(key [2]remap.Dev) bool { return key[0] == dev || key[1] == dev }
	deleteKeys(f.copiers, concerned)
	deleteKeys(f.units.copiers, concerned)
}

func deleteKeys[V any](m map[[2]remap.Dev]V, when func([2]remap.Dev) bool) {
	maps.DeleteFunc(m, func(key [2]remap.Dev, _ V) bool { return when(key) })
}
