package ends

import (
	"errors"
	"io/fs"
	"log/slog"

	"github.com/dmcopy/dmcopy/internal/alias"
	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/inuse"
)

// refuseAliases refuses ends that may be one file by two names, or be stored in one: some file
// systems show the files of others under numbers of their own, as an overlay does those of its
// layers, so that neither identity nor locks tell. What one file has is one status.
func refuseAliases(src, dst Endpoint) error {
	srcBelow, dstBelow := backingOf(src, slog.New(slog.DiscardHandler)), backingOf(dst, slog.New(slog.DiscardHandler))
	err := errors.Join(srcBelow.begin(), dstBelow.begin())
	if err == nil {
		err = comparedAliases(filesOf(src, srcBelow), filesOf(dst, dstBelow), dst.Name)
	}
	return errors.Join(err, srcBelow.Close(), dstBelow.Close())
}

// aliased is a file that an end is, or is stored in.
type aliased struct {
	lookedAt
	name string
}

type lookedAt interface {
	alias.File
	ID() string
	Path() string
}

func filesOf(e Endpoint, below *backing) (all []aliased) {
	if f, ok := e.Device.(lookedAt); ok && e.File != nil {
		all = append(all, aliased{f, e.Name})
	}
	_ = below.each(func(f *backingFile) error { // which fails nowhere
		all = append(all, aliased{f.File, f.Path() + ", in which " + e.Name + " is stored,"})
		return nil
	})
	return all
}

func comparedAliases(src, dst []aliased, name string) error {
	for _, s := range src {
		for _, d := range dst {
			if s.ID() == d.ID() { // which is known, and looked at elsewhere
				continue
			}
			alike, err := alias.May(s, d)
			if err != nil {
				return failure.During("open", err)
			}
			if err := refuseUnderlying(s, d, name); err != nil {
				return err
			}
			if alike {
				return failure.Refuse(name, "may be the source by another name: %s and %s have the same length and the same times, and the file system of one shows files of others",
					"choose another destination, or, if these are two files, touch one of them, and copy again", s.name, d.name)
			}
		}
	}
	return nil
}

// refuseUnderlying refuses files of which one is shown by an overlay and the other one lies in a layer
// of it, where nothing tells whether they are one.
func refuseUnderlying(src, dst aliased, name string) error {
	for _, pair := range [][2]aliased{{src, dst}, {dst, src}} {
		lies, err := inuse.Underlies(Here, pair[0].Path(), pair[1].Path())
		if errors.Is(err, fs.ErrNotExist) { // it has not that name any more
			continue
		}
		if err != nil {
			return failure.During("open", err)
		}
		if lies {
			return failure.Refuse(name, "may be the source by another name: %s lies in a layer of the overlay that shows %s, whose option metacopy keeps apart what is one file",
				"choose another destination, or copy within the overlay", pair[0].name, pair[1].name)
		}
	}
	return nil
}
