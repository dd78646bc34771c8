package copydomain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/dmcopy/dmcopy/copydomain/files"
	"github.com/dmcopy/dmcopy/remap"
)

// Why a pair of files has no method.
const (
	ReasonFileSystem     remap.Reason = files.ReasonFileSystem
	ReasonOtherSystem    remap.Reason = files.ReasonOtherSystem
	ReasonFileAway       remap.Reason = "domain:file-unreachable"
	ReasonFileUnaligned  remap.Reason = "limit:alignment"
	ReasonFileTransforms remap.Reason = "layer:loop-crypt"
)

// InFile tells whether a device is stored in a regular file that is known: a loop
// device, or what stands for the file itself.
func InFile(n *remap.Node) bool {
	return n.Leaf == nil && n.Storage != nil && strings.HasPrefix(n.Storage.ID, "file:")
}

// filePairs are the pairs of files that a finder has opened.
type filePairs struct {
	open Openers

	mu     sync.Mutex
	opened map[[2]string]*openPair // by the IDs of source and destination
}

// openPair are two files that somebody copies between. Files that are open keep their file system mounted, and
// what is deleted of it, so they are let go after the last copy.
type openPair struct {
	transport files.Transport
	copier    *files.Copier
	users     int
}

func newFilePairs(open Openers) *filePairs { return &filePairs{open: open} }

func (f *filePairs) answersFor(src, dst *remap.Node) bool { return InFile(src) && InFile(dst) }

func (f *filePairs) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for _, pair := range f.opened {
		errs = append(errs, pair.transport.Close())
	}
	f.opened = nil
	return errors.Join(errs...)
}

// openFiles keeps a pair that is nil from becoming a transport that is not.
func openFiles(src, dst files.Name) (files.Transport, error) {
	p, err := files.Open(src, dst)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func fileName(n *remap.Node) files.Name { return files.Name{Path: n.Storage.Name, ID: n.Storage.ID} }

// pair tells how the file system of two files copies from one to the other.
func (f *filePairs) pair(_ context.Context, pair Pair) Pair {
	span, block, reason, detail := f.spanFiles(pair)
	if reason != "" {
		pair.Reason, pair.Detail = reason, detail
		return pair
	}
	pair.Method = FileReflink
	if span.Method == files.CopyRange {
		pair.Method = FileCopyRange
	}
	pair.Domain = span.Domain()
	pair.Block = block
	pair.CommandBytes = files.CallBytes(span.Method)
	pair.Limits = fmt.Sprintf("blocks of %d bytes", block)
	return pair
}

// spanFiles finds out about both files; without a reason the result has a method.
func (f *filePairs) spanFiles(pair Pair) (span files.FileSystem, block int, reason remap.Reason, detail string) {
	if f.open.FileSystem == nil {
		return span, 0, ReasonNoMethod, "there is no copy method for files"
	}
	var on [2]files.FileSystem
	for i, n := range []*remap.Node{pair.Src, pair.Dst} {
		if n.Storage.Transformed {
			return span, 0, ReasonFileTransforms, n.Name + " is encrypted by the loop driver"
		}
		var err error
		if on[i], err = f.open.FileSystem(fileName(n)); err != nil {
			reason, detail := lost(err)
			return span, 0, reason, detail
		}
	}
	if span = files.Span(on[0], on[1]); span.Method == files.None {
		return span, 0, remap.Reason(span.Reason), span.Detail
	}
	for _, n := range []*remap.Node{pair.Src, pair.Dst} {
		if n.Storage.Ragged || n.Storage.Start.Bytes()%int64(span.Block) != 0 {
			return span, 0, ReasonFileUnaligned, fmt.Sprintf("%s does not begin with a block of its file", n.Name)
		}
	}
	return span, max(span.Block, remap.SectorSize), "", ""
}

// lost explains why a file cannot be asked.
func lost(err error) (remap.Reason, string) {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return ReasonPermission, err.Error()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, files.ErrChanged), errors.Is(err, files.ErrNotRegular):
		// Of a loop device: it is deleted, or in another mount namespace.
		return ReasonFileAway, err.Error()
	}
	return ReasonProbeFailed, err.Error()
}

// copier returns what issues calls for a pair of files.
func (f *filePairs) copier(_ context.Context, pair Pair, opt CopyOptions) (Copier, error) {
	span, block, reason, detail := f.spanFiles(pair)
	if reason != "" {
		return nil, &Withdrawn{reason, detail}
	}
	if pair.Block > 0 && block > pair.Block { // it was planned in smaller ones
		return nil, &Withdrawn{ReasonFileUnaligned, fmt.Sprintf("the file system has blocks of %d bytes now instead of %d", block, pair.Block)}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key := [2]string{pair.Src.Storage.ID, pair.Dst.Storage.ID}
	opened := f.opened[key]
	if opened == nil {
		t, err := f.open.Files(fileName(pair.Src), fileName(pair.Dst))
		if err != nil {
			return unopened{err}, nil
		}
		copier, err := files.NewCopier(t, span, key[0] == key[1], files.Options{Logger: opt.Log})
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		if f.opened == nil {
			f.opened = make(map[[2]string]*openPair)
		}
		opened = &openPair{transport: t, copier: copier}
		f.opened[key] = opened
	}
	opened.users++
	letGo := sync.OnceValue(func() error { return f.letGo(key, opened) })
	return &fileCopier{copier: opened.copier, src: pair.Src.Storage.Start, dst: pair.Dst.Storage.Start, opt: opt, letGo: letGo}, nil
}

// letGo closes two files if nobody uses them any more.
func (f *filePairs) letGo(key [2]string, pair *openPair) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if pair.users--; pair.users > 0 || f.opened[key] != pair {
		return nil
	}
	delete(f.opened, key)
	return pair.transport.Close()
}

// unopened stands for files that cannot be opened any more.
type unopened struct{ err error }

// Copy implements [Copier].
func (u unopened) Copy(_ context.Context, moves []Move) (Result, error) {
	reason, _ := lost(u.err)
	return refused(moves, reason, u.err), nil
}

// Flush implements [Copier].
func (unopened) Flush(context.Context) error { return nil }

// Close implements [Copier].
func (unopened) Close() error { return nil }
