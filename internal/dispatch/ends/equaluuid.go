package ends

import (
	"context"
	"errors"
	"slices"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/superblock"
)

// EqualUUIDs tells what has a UUID on a destination that was copied, if it is the one of
// the source now: that is so for whatever lies at its beginning, where the ranges have
// written. Regular files do not matter: no system looks for a UUID in them.
func EqualUUIDs(ctx context.Context, src, dst Endpoint, copied []byterange.Range) ([]superblock.Found, error) {
	if src.Dev.IsZero() || dst.Dev.IsZero() {
		return nil, nil
	}
	atBeginning := func(r byterange.Range) bool { return r.Dst == 0 }
	i := slices.IndexFunc(copied, atBeginning)
	if i < 0 {
		return nil, nil
	}
	pool, err := blockio.NewPool(1, superblock.Length)
	if err != nil {
		return nil, failure.During("look", err)
	}
	buffer, err := pool.Get(ctx)
	if err != nil {
		return nil, errors.Join(failure.During("look", err), pool.Close())
	}
	n := int(min(superblock.Length, dst.Device.Size()))
	n, err = dst.Device.ReadAt(buffer[:n], 0)
	found := superblock.Find(slices.Clone(buffer[:min(int64(n), copied[i].Len)]))
	pool.Put(buffer)
	return found, errors.Join(failure.During("look", err), pool.Close())
}
