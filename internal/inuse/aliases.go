package inuse

import (
	"path/filepath"
	"strings"

	"github.com/dmcopy/dmcopy/internal/alias"
)

// join has the users of what may be a file by another name count as its users.
func (u *users) join(path, id string) {
	is := func(other, itsID string) bool {
		if itsID == id || !strings.HasPrefix(itsID, "file:") {
			return false
		}
		same, err := alias.May(alias.Path(path), alias.Path(other))
		return err == nil && same // what is gone is used by nobody
	}
	for i := range u.writers {
		if w := &u.writers[i]; is(w.link, w.id) {
			w.id = id
		}
	}
	for i := range u.loops {
		if l := &u.loops[i]; u.names.file(l.file, "") == l.storage && is(u.fs.Root().Path(l.file), l.storage) {
			l.storage = id
		}
	}
	for i := range u.mounts {
		if m := &u.mounts[i]; m.SourceID != "" && is(u.fs.Root().Path(m.Seer.root(), m.Source), m.SourceID) {
			m.SourceID = id
		}
	}
	for i := range u.swaps {
		s := &u.swaps[i]
		for _, root := range roots(u.mounts) {
			if file := filepath.Join(root, s.path); is(u.fs.Root().Path(file), u.names.file(s.path, root)) {
				s.ids = append(s.ids, id)
			}
		}
	}
}
