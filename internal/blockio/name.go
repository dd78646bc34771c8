package blockio

import "github.com/dmcopy/dmcopy/internal/durable"

// SyncName makes the name durable that a regular file was opened by: what [File.Sync] and
// [File.Datasync] make durable may be found by no name after a crash.
func (s *Status) SyncName() error {
	if s.file.device {
		return nil
	}
	return s.file.do("syncing the name of", func(fd int) error { return durable.Name(fd, s.file.path) })
}
