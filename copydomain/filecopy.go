package copydomain

import (
	"context"

	"github.com/dmcopy/dmcopy/copydomain/files"
	"github.com/dmcopy/dmcopy/remap"
)

// fileCopier has a file system copy. It translates between the sectors of the
// devices that are stored in two files and the bytes of these.
type fileCopier struct {
	copier   *files.Copier
	src, dst remap.Sector // where the devices begin in their files
	opt      CopyOptions
	letGo    func() error // of the files
}

// guard is the last look at a call before it is made.
func (c *fileCopier) guard(m files.Move) error {
	at := c.move(m)
	return c.opt.Allowed(at.Dst, at.Len)
}

// Copy implements [Copier].
func (c *fileCopier) Copy(ctx context.Context, moves []Move) (Result, error) {
	runs := make([]files.Move, 0, len(moves))
	for _, m := range moves {
		runs = append(runs, files.Move{Src: (c.src + m.Src).Bytes(), Dst: (c.dst + m.Dst).Bytes(), Len: m.Len.Bytes()})
	}
	done, err := c.copier.Copy(ctx, runs, c.opt.NotAfter, c.guard)
	if err != nil {
		return Result{}, err
	}
	r := Result{Commands: done.Calls}
	for _, f := range done.Redo {
		r.Redo = append(r.Redo, Redo{c.move(f.Move), remap.Reason(f.Reason), f.Err, f.Action})
	}
	return r, nil
}

// move translates back, rounded out to sectors: a call can end anywhere.
func (c *fileCopier) move(m files.Move) Move {
	head := m.Dst % remap.SectorSize
	return Move{
		Src: remap.Sector((m.Src-head)/remap.SectorSize) - c.src,
		Dst: remap.Sector((m.Dst-head)/remap.SectorSize) - c.dst,
		Len: remap.Sector((m.Len + head + remap.SectorSize - 1) / remap.SectorSize),
	}
}

// Flush implements [Copier].
func (c *fileCopier) Flush(context.Context) error { return c.copier.Flush() }

// Close implements [Copier].
func (c *fileCopier) Close() error { return c.letGo() }
