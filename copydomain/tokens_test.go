package copydomain_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/target"
)

// cabinet is a target with token copies, and how a snapshot describes its disks.
type cabinet struct {
	*target.Target
	node []*remap.Node
}

func newCabinet(t testing.TB, edit func(*target.Config)) *cabinet {
	t.Helper()
	c := target.Config{Disks: []target.Disk{{Blocks: 256, BlockSize: 4096}, {Blocks: 256, BlockSize: 4096}, {Blocks: 2048, BlockSize: 512}}, Tokens: target.DefaultTokenLimits()}
	if edit != nil {
		edit(&c)
	}
	made, err := target.New(c)
	if err != nil {
		t.Fatal(err)
	}
	b := &cabinet{Target: made}
	for i, d := range c.Disks {
		fill := bytes.Repeat([]byte{byte(i + 1)}, int(d.Blocks)*int(d.BlockSize))
		for at := 0; at < len(fill); at += sector { // every sector is another one
			binary.BigEndian.PutUint32(fill[at:], uint32(at))
		}
		if err := made.Fill(i, fill, 0); err != nil {
			t.Fatal(err)
		}
		b.node = append(b.node, &remap.Node{
			Dev: remap.Dev{Major: 8, Minor: uint32(16 * i)}, Name: fmt.Sprintf("sd%c", 'a'+i), Size: remap.Sector(len(fill) / sector), BlockSize: int(d.BlockSize),
			Leaf: &remap.Leaf{Driver: "scsi", Zoned: "none", Identity: made.Identity(i).Designators[0].String()},
		})
	}
	return b
}

func (b *cabinet) finder(t testing.TB) *copydomain.Finder {
	f := copydomain.NewFinderFor(copydomain.Openers{SCSI: func(leaf *remap.Node, _ bool) (scsi.Transport, error) {
		for i, n := range b.node {
			if n.Dev == leaf.Dev {
				return b.Unit("host", i), nil
			}
		}
		return nil, fs.ErrNotExist
	}})
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// TestPairByToken: tokens are the method where EXTENDED COPY is none, and what keeps
// disks apart from both is told.
func TestPairByToken(t *testing.T) {
	alone := target.DefaultCopyLimits()
	alone.Units = 1
	for name, tc := range map[string]struct {
		edit            func(*target.Config)
		change          func(*cabinet) error
		within, between copydomain.Method
		why             remap.Reason // of between
	}{
		"tokens only":          {nil, nil, copydomain.SCSIODX, copydomain.SCSIODX, ""},
		"both":                 {func(c *target.Config) { c.XCopy = target.DefaultCopyLimits() }, nil, copydomain.SCSIXCopy, copydomain.SCSIXCopy, ""},
		"within a unit only":   {func(c *target.Config) { c.XCopy = alone }, nil, copydomain.SCSIXCopy, copydomain.SCSIODX, ""},
		"none":                 {func(c *target.Config) { c.Tokens = nil }, nil, "", "", "domain:no-copy-command"},
		"no limits are needed": {func(c *target.Config) { c.Tokens = &target.TokenLimits{} }, nil, copydomain.SCSIODX, copydomain.SCSIODX, ""},
		"other blocks":         {func(c *target.Config) { c.Disks[0], c.Disks[2] = c.Disks[2], c.Disks[0] }, nil, copydomain.SCSIODX, "", "domain:block-size"},
		"one name": {nil, func(b *cabinet) error {
			b.node[1].Leaf.Identity = b.node[0].Leaf.Identity
			return b.Impersonate(1, 0)
		}, copydomain.SCSIODX, "", copydomain.ReasonDuplicate},
		"another disk": {nil, func(b *cabinet) error { return b.Impersonate(1, 2) }, copydomain.SCSIODX, "", copydomain.ReasonIdentity},
		"no answer": {nil, func(b *cabinet) error {
			b.Inject(target.Fault{Command: "inquiry", Unit: new(int), Sense: scsi.SenseCode{Key: scsi.HardwareError, ASC: 0x44}})
			return nil
		}, "", "", copydomain.ReasonProbeFailed},
	} {
		b := newCabinet(t, tc.edit)
		if tc.change != nil {
			if err := tc.change(b); err != nil {
				t.Fatal(err)
			}
		}
		f := b.finder(t)
		if p := f.Pair(t.Context(), b.node[0], b.node[0]); p.Method != tc.within {
			t.Errorf("%s, within: %+v", name, p)
		}
		p := f.Pair(t.Context(), b.node[0], b.node[1])
		if p.Method != tc.between || p.Reason != tc.why || (p.Method == "") != (p.Detail != "") {
			t.Errorf("%s, between: %+v", name, p)
		}
		if p.Method == copydomain.SCSIODX && (p.Domain != "scsi:naa.32dc09e000000000" || p.Block != b.node[1].BlockSize || p.CommandBytes <= 0 || p.CommandBytes > 64<<20 || p.Limits == "") {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// copier returns that of a pair, every write of which is looked at.
func (b *cabinet) copier(t *testing.T, f *copydomain.Finder, src, dst int, allowed func(dst, length remap.Sector) error) copydomain.Copier {
	t.Helper()
	pair := f.Pair(t.Context(), b.node[src], b.node[dst])
	if pair.Method != copydomain.SCSIODX {
		t.Fatalf("%+v", pair)
	}
	if allowed == nil {
		allowed = func(dst, length remap.Sector) error { return nil }
	}
	c, err := f.Copier(t.Context(), pair, copydomain.CopyOptions{InFlight: 1, Timeout: time.Minute, Allowed: allowed})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCopyByToken(t *testing.T) {
	b := newCabinet(t, nil)
	f := b.finder(t)
	var looked []remap.Sector
	c := b.copier(t, f, 0, 1, func(dst, length remap.Sector) error {
		looked = append(looked, dst, length)
		return nil
	})
	moves := []copydomain.Move{{Src: 8, Dst: 800, Len: 16}, {Src: 80, Dst: 816, Len: 8}}
	r, err := c.Copy(t.Context(), moves)
	if err != nil || len(r.Redo)+len(r.Fenced) != 0 || r.Commands != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if fmt.Sprint(looked) != "[800 16 816 8]" {
		t.Errorf("looked at %v", looked)
	}
	for _, m := range moves {
		from, to := make([]byte, m.Len.Bytes()), make([]byte, m.Len.Bytes())
		if err := errors.Join(b.Bytes(0, from, m.Src.Bytes()), b.Bytes(1, to, m.Dst.Bytes())); err != nil || !bytes.Equal(from, to) {
			t.Errorf("%+v: other bytes, %v", m, err)
		}
	}
	if err := c.Flush(t.Context()); err != nil || b.Count("synchronize-cache") != 1 {
		t.Error(err)
	}
	if _, err := c.Copy(t.Context(), []copydomain.Move{{Src: 4, Dst: 800, Len: 8}}); err == nil {
		t.Error("half a block")
	}
}

// TestTokenActions: what a failure means for what comes next.
func TestTokenActions(t *testing.T) {
	const populate, write = "populate-token", "write-using-token"
	sense := func(asc, ascq uint8) scsi.SenseCode {
		return scsi.SenseCode{Key: scsi.IllegalRequest, ASC: asc, ASCQ: ascq}
	}
	for name, tc := range map[string]struct {
		fault  target.Fault
		action copydomain.Action
		reason remap.Reason
	}{
		"expired":         {target.Fault{Command: write, Expire: true}, copydomain.ActionEmulate, "device:sense-5-23-07"},
		"no resources":    {target.Fault{Command: populate, Sense: sense(0x55, 0x0C)}, copydomain.ActionEmulate, "device:sense-5-55-0c"},
		"unknown command": {target.Fault{Command: populate, Sense: sense(0x20, 0)}, copydomain.ActionNotSupported, "device:sense-5-20-00"},
		"out of range":    {target.Fault{Command: write, Sense: sense(0x21, 0)}, copydomain.ActionReresolve, "device:sense-5-21-00"},
		"reserved":        {target.Fault{Command: write, Status: scsi.ReservationConflict}, copydomain.ActionSurface, "device:status-0x18"},
	} {
		b := newCabinet(t, nil)
		c := b.copier(t, b.finder(t), 0, 1, nil)
		if r, err := c.Copy(t.Context(), []copydomain.Move{{Src: 0, Dst: 0, Len: 8}}); err != nil || len(r.Redo) != 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		b.Inject(tc.fault)
		r, err := c.Copy(t.Context(), []copydomain.Move{{Src: 0, Dst: 80, Len: 8}})
		if err != nil || len(r.Redo) != 1 || r.Redo[0].Action != tc.action || r.Redo[0].Reason != tc.reason {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	b := newCabinet(t, nil)
	c := b.copier(t, b.finder(t), 0, 1, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r, err := c.Copy(ctx, []copydomain.Move{{Src: 0, Dst: 80, Len: 8}}); err != nil || len(r.Redo) != 1 || r.Redo[0].Action != copydomain.ActionCanceled {
		t.Errorf("canceled: %+v, %v", r, err)
	}
}
