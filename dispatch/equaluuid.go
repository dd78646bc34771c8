package dispatch

import (
	"context"
	"errors"
	"slices"

	"github.com/dmcopy/dmcopy/internal/blockio"
	"github.com/dmcopy/dmcopy/internal/superblock"
)

// EqualUUIDs tells what has a UUID on a destination that was copied, if it is the one of
// the source now: that is so for whatever lies at its beginning, where the ranges have
// written. Files are in nobody's way, as long as they are files.
func EqualUUIDs(ctx context.Context, job Job) ([]superblock.Found, error) {
	if job.Src.Dev.IsZero() || job.Dst.Dev.IsZero() {
		return nil, nil
	}
	atBeginning := func(r Range) bool { return r.Dst == 0 }
	i := slices.IndexFunc(job.Ranges, atBeginning)
	if i < 0 {
		return nil, nil
	}
	pool, err := blockio.NewPool(1, superblock.Length)
	if err != nil {
		return nil, wrap("look", err)
	}
	buffer, err := pool.Get(ctx)
	if err != nil {
		return nil, errors.Join(wrap("look", err), pool.Close())
	}
	n := int(min(superblock.Length, job.Dst.Device.Size()))
	n, err = job.Dst.Device.ReadAt(buffer[:n], 0)
	found := superblock.Find(slices.Clone(buffer[:min(int64(n), job.Ranges[i].Len)]))
	pool.Put(buffer)
	return found, errors.Join(wrap("look", err), pool.Close())
}
