package copydomain_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/files"
	"github.com/dmcopy/dmcopy/remap"
)

var sharing = files.FileSystem{Type: "xfs", Name: "one", Method: files.Clone, Block: 4096}

func fileNode(minor uint32, start remap.Sector) *remap.Node {
	id := fmt.Sprintf("file:8:1:%d", minor)
	return &remap.Node{
		Dev: remap.Dev{Minor: minor}, Name: id, Size: 1 << 20, BlockSize: 512,
		Layer: remap.OpaqueLayer{Layer: "loop", Reason: "layer:loop"}, Storage: &remap.Storage{ID: id, Name: "/" + id, Start: start},
	}
}

// closingFiles counts how often it is closed.
type closingFiles struct {
	*files.Loopback
	closed *int
}

func (c closingFiles) Close() error {
	*c.closed++
	return nil
}

func filesFinder(on map[string]files.FileSystem, err error, l *files.Loopback, closed *int) *copydomain.Finder {
	return copydomain.NewFinderFor(copydomain.Openers{
		FileSystem: func(n files.Name) (files.FileSystem, error) { return on[n.ID], err },
		Files: func(src, dst files.Name) (files.Transport, error) {
			if l == nil {
				return nil, fs.ErrNotExist
			}
			return closingFiles{l, closed}, nil
		},
	})
}

func TestFilePair(t *testing.T) {
	a, b := fileNode(1, 0), fileNode(2, 8)
	on := map[string]files.FileSystem{a.Storage.ID: sharing, b.Storage.ID: sharing}
	p := filesFinder(on, nil, nil, nil).Pair(t.Context(), a, b)
	if p.Method != copydomain.FileReflink || p.Domain != "xfs:one" || p.Block != 4096 || p.CommandBytes != files.DefaultCloneBytes || p.Reason != "" {
		t.Errorf("%+v", p)
	}
	served := sharing
	served.Method = files.CopyRange
	on[a.Storage.ID], on[b.Storage.ID] = served, served
	if p := filesFinder(on, nil, nil, nil).Pair(t.Context(), a, b); p.Method != copydomain.FileCopyRange || p.CommandBytes != files.DefaultCopyBytes {
		t.Errorf("%+v", p)
	}
}

func TestNoFilePair(t *testing.T) {
	other := files.FileSystem{Type: "xfs", Name: "two", Method: files.Clone, Block: 4096}
	none := files.FileSystem{Type: "ext4", Reason: files.ReasonFileSystem, Detail: "no"}
	for _, c := range []struct {
		name   string
		src    files.FileSystem
		err    error
		edit   func(*remap.Node)
		reason remap.Reason
	}{
		{"other file system", other, nil, nil, copydomain.ReasonOtherSystem},
		{"no method", none, nil, nil, copydomain.ReasonFileSystem},
		{"deleted", sharing, fs.ErrNotExist, nil, copydomain.ReasonFileAway},
		{"another file", sharing, files.ErrChanged, nil, copydomain.ReasonFileAway},
		{"a device", sharing, files.ErrNotRegular, nil, copydomain.ReasonFileAway},
		{"not allowed", sharing, unix.EACCES, nil, copydomain.ReasonPermission},
		{"broken", sharing, unix.EIO, nil, copydomain.ReasonProbeFailed},
		{"begins within a sector", sharing, nil, func(n *remap.Node) { n.Storage.Ragged = true }, copydomain.ReasonFileUnaligned},
		{"begins within a block", sharing, nil, func(n *remap.Node) { n.Storage.Start = 63 }, copydomain.ReasonFileUnaligned},
		{"encrypted", sharing, nil, func(n *remap.Node) { n.Storage.Transformed = true }, copydomain.ReasonFileTransforms},
	} {
		src, dst := fileNode(1, 0), fileNode(2, 8)
		if c.edit != nil {
			c.edit(src)
		}
		f := filesFinder(map[string]files.FileSystem{src.Storage.ID: c.src, dst.Storage.ID: sharing}, c.err, nil, nil)
		p := f.Pair(t.Context(), src, dst)
		if p.Method != "" || p.Reason != c.reason || p.Detail == "" {
			t.Errorf("%s: %+v", c.name, p)
		}
		if _, err := f.Copier(t.Context(), p, copydomain.CopyOptions{}); err == nil {
			t.Errorf("%s: a copier", c.name)
		}
	}
	if p := copydomain.NewOfflineFinder().Pair(t.Context(), fileNode(1, 0), fileNode(2, 0)); p.Reason != copydomain.ReasonNoMethod {
		t.Errorf("%+v", p)
	}
}

// TestInFile: a loop device on a block device is in no file, nor one that was not asked.
func TestInFile(t *testing.T) {
	for id, want := range map[string]bool{"file:8:1:5": true, "block:8:1": false, "": false} {
		n := fileNode(1, 0)
		if n.Storage.ID = id; copydomain.InFile(n) != want {
			t.Errorf("%q: %v", id, !want)
		}
	}
	leaf := fileNode(1, 0)
	if leaf.Leaf = new(remap.Leaf); copydomain.InFile(leaf) || copydomain.InFile(&remap.Node{}) {
		t.Error("in a file")
	}
}

// TestFileCopier: sectors of devices become bytes of files, and back.
func TestFileCopier(t *testing.T) {
	const size = 1 << 20
	src, dst := fileNode(1, 8), fileNode(2, 16)
	l, closed := &files.Loopback{Source: make([]byte, size), Dest: make([]byte, size)}, 0
	for i := range l.Source {
		l.Source[i] = byte(i>>9) + 1
	}
	served := sharing
	served.Method = files.CopyRange
	f := filesFinder(map[string]files.FileSystem{src.Storage.ID: served, dst.Storage.ID: served}, nil, l, &closed)
	pair := f.Pair(t.Context(), src, dst)
	var allowed []copydomain.Move
	opt := copydomain.CopyOptions{Allowed: func(at, n remap.Sector) error {
		allowed = append(allowed, copydomain.Move{Dst: at, Len: n})
		return nil
	}}
	for range 2 { // whoever asks gets the same files
		c, err := f.Copier(t.Context(), pair, opt)
		if err != nil {
			t.Fatal(err)
		}
		l.Answer = func(n int, m files.Move) files.Answer {
			if n%2 == 0 {
				return files.Answer{Copied: 700, Said: 700}
			}
			return files.Answer{Err: unix.EIO}
		}
		allowed = nil
		r, err := c.Copy(t.Context(), []copydomain.Move{{Src: 80, Dst: 160, Len: 16}})
		// 700 bytes are one whole sector.
		want := copydomain.Move{Src: 81, Dst: 161, Len: 15}
		if err != nil || r.Commands != 2 || len(r.Redo) != 1 || r.Redo[0].Move != want || r.Redo[0].Reason != "file:errno-5" || r.Redo[0].Action != copydomain.ActionEmulate {
			t.Errorf("%+v, %v", r, err)
		}
		if len(allowed) != 1 || allowed[0] != (copydomain.Move{Dst: 160, Len: 16}) {
			t.Errorf("allowed %+v", allowed)
		}
		if string(l.Dest[(16+160)*sector:][:sector]) != string(l.Source[(8+80)*sector:][:sector]) || l.Dest[(16+160)*sector-1] != 0 {
			t.Error("wrong bytes")
		}
		if err := c.Flush(t.Context()); err != nil || l.Synced() == nil {
			t.Error(err)
		}
	}
	if err := f.Close(); err != nil || closed != 1 {
		t.Errorf("closed %d times: %v", closed, err)
	}
}

// TestFilesGone: files that cannot be opened any more are copied in another way.
func TestFilesGone(t *testing.T) {
	src, dst := fileNode(1, 0), fileNode(2, 0)
	f := filesFinder(map[string]files.FileSystem{src.Storage.ID: sharing, dst.Storage.ID: sharing}, nil, nil, nil)
	c, err := f.Copier(t.Context(), f.Pair(t.Context(), src, dst), copydomain.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Copy(t.Context(), []copydomain.Move{{Src: 0, Dst: 0, Len: 8}})
	if err != nil || len(r.Redo) != 1 || r.Redo[0].Reason != copydomain.ReasonFileAway || r.Redo[0].Action != copydomain.ActionNotSupported || !errors.Is(r.Redo[0].Err, fs.ErrNotExist) {
		t.Errorf("%+v, %v", r, err)
	}
	if err := errors.Join(c.Flush(t.Context()), f.Close()); err != nil {
		t.Error(err)
	}
}
