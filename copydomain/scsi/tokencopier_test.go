package scsi_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/internal/boottime"
	"github.com/dmcopy/dmcopy/test/target"
)

// The copier against a target that decodes its commands on its own.

const unitBlocks = 4096

type tokenRig struct {
	*scsi.TokenCopier
	testing.TB
	target   *target.Target
	src, dst int
	before   [][]byte
	log      *bytes.Buffer
}

// contents of two units, in which all blocks differ.
var contents = sync.OnceValue(func() (all [2][]byte) {
	for i := range all {
		all[i] = bytes.Repeat([]byte{byte(i + 1)}, unitBlocks*512)
		for lba := range unitBlocks {
			binary.BigEndian.PutUint32(all[i][lba*512:], uint32(lba))
		}
	}
	return all
})

// newTokenRig makes a target of two units with other bytes in each block, and a copier
// from the first one to the second, or within the first one.
func newTokenRig(t testing.TB, two bool, opts blocks.Options, edit func(*target.Config)) *tokenRig {
	t.Helper()
	c := target.Config{Disks: []target.Disk{{Blocks: unitBlocks, BlockSize: 512}, {Blocks: unitBlocks, BlockSize: 512}}, Tokens: target.DefaultTokenLimits()}
	if edit != nil {
		edit(&c)
	}
	made, err := target.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { made.Lose("me") })
	r := &tokenRig{TB: t, target: made, log: new(bytes.Buffer)}
	var devices []*scsi.Device
	for i, d := range c.Disks {
		b := contents()[i][:d.Blocks*uint64(d.BlockSize)]
		r.before = append(r.before, bytes.Clone(b))
		if err := made.Fill(i, b, 0); err != nil {
			t.Fatal(err)
		}
		d, err := scsi.Probe(t.Context(), made.Unit("me", i))
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, d)
	}
	if two {
		r.dst = 1
	}
	opts.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	if r.TokenCopier, err = scsi.NewTokenCopier(devices[r.src], devices[r.dst], opts); err != nil {
		t.Fatal(err)
	}
	return r
}

func move(src, dst, n uint64) blocks.Piece {
	return blocks.Piece{SrcLBA: src, DstLBA: dst, Blocks: n}
}

// check copies and holds the result against the medium: what is said to be done is
// right, what is said to be untouched is as before, and so is all that was not meant.
func (r *tokenRig) check(pieces ...blocks.Piece) *blocks.Result {
	r.Helper()
	result, err := r.Copy(r.Context(), pieces)
	if err != nil {
		r.Fatal(err)
	}
	state := make([]string, unitBlocks)
	mark := func(p blocks.Piece, what string) {
		for i := range p.Blocks {
			if state[p.DstLBA+i] != "" {
				r.Errorf("block %d is %s and %s", p.DstLBA+i, state[p.DstLBA+i], what)
			}
			state[p.DstLBA+i] = what
		}
	}
	for _, p := range result.Done {
		mark(p, "done")
	}
	for _, f := range result.Redo {
		mark(f.Piece, map[bool]string{true: "untouched", false: "redo"}[f.Untouched])
	}
	for _, f := range result.Fenced {
		for _, p := range f.Pieces {
			mark(p, "fenced")
		}
	}
	now := make([]byte, unitBlocks*512)
	if err := r.target.Bytes(r.dst, now, 0); err != nil {
		r.Fatal(err)
	}
	after := bytes.Clone(now)
	at := func(b []byte, lba uint64) []byte { return b[lba*512 : (lba+1)*512] }
	for _, p := range pieces {
		for i := range p.Blocks {
			switch lba := p.DstLBA + i; state[lba] {
			case "done":
				if !bytes.Equal(at(now, lba), at(r.before[r.src], p.SrcLBA+i)) {
					r.Errorf("block %d is said to be done", lba)
				}
			case "untouched":
				if !bytes.Equal(at(now, lba), at(r.before[r.dst], lba)) {
					r.Errorf("block %d is said to be untouched", lba)
				}
			case "":
				r.Errorf("nothing is said of block %d", lba)
			}
			copy(at(now, p.DstLBA+i), at(r.before[r.dst], p.DstLBA+i))
		}
	}
	if !bytes.Equal(now, r.before[r.dst]) {
		r.Error("other blocks have changed")
	}
	r.before[r.dst] = after
	return result
}

func blocksIn(pieces []blocks.Piece) (n uint64) {
	for _, p := range pieces {
		n += p.Blocks
	}
	return n
}

var someMoves = []blocks.Piece{move(0, 2000, 600), move(700, 2700, 100), move(900, 2800, 50), move(300, 3000, 200), move(1200, 3300, 1)}

func TestTokenCopy(t *testing.T) {
	for _, two := range []bool{true, false} {
		r := newTokenRig(t, two, blocks.Options{}, nil)
		result := r.check(someMoves...)
		if blocksIn(result.Done) != 951 || result.Commands != 2 || result.Again != 0 {
			t.Errorf("%+v", result)
		}
		// One block of the source is wanted twice, which no token allows.
		if n := r.target.Count("populate-token"); n != 2 || r.target.Count("write-using-token") != 2 {
			t.Errorf("%d tokens", n)
		}
		if n := r.target.Tokens(); n != 0 {
			t.Errorf("%d tokens are left", n)
		}
	}
}

func TestTokenCopyWithinLimits(t *testing.T) {
	for name, tc := range map[string]struct {
		limits   target.TokenLimits
		cap      uint64
		commands int
	}{
		"one range":       {target.TokenLimits{Ranges: 1, TransferBlocks: 1 << 20, MaxTimeout: 600}, 0, 5},
		"few blocks":      {target.TokenLimits{Ranges: 64, TransferBlocks: 128, MaxTimeout: 600}, 0, 8},
		"nothing told":    {target.TokenLimits{MaxTimeout: 600}, 0, 5},
		"no long life":    {target.TokenLimits{Ranges: 64, MaxTimeout: 5}, 0, 2},
		"our own limit":   {target.TokenLimits{Ranges: 64, MaxTimeout: 600}, 256 * 512, 4},
		"one block a go":  {target.TokenLimits{Ranges: 64, TransferBlocks: 1, MaxTimeout: 600}, 0, 951},
		"a single sector": {target.TokenLimits{Ranges: 1, TransferBlocks: 1, MaxTimeout: 600}, 1, 951},
	} {
		r := newTokenRig(t, true, blocks.Options{MaxCommandBytes: tc.cap}, func(c *target.Config) { c.Tokens = &tc.limits })
		if result := r.check(someMoves...); blocksIn(result.Done) != 951 || result.Commands != tc.commands {
			t.Errorf("%s: %d commands, %+v", name, result.Commands, result)
		}
	}
}

// What goes wrong once or a few times, and all is copied nevertheless.
func TestTokenCopyRecovers(t *testing.T) {
	const populate, write, receive = "populate-token", "write-using-token", "receive-token"
	busy := scsi.SenseCode{Key: scsi.IllegalRequest, ASCQ: 0x16}
	attention := scsi.SenseCode{Key: scsi.UnitAttention, ASC: 0x29}
	for name, tc := range map[string]struct {
		faults []target.Fault
		writes int // 2 if nothing goes wrong
	}{
		"short token":            {[]target.Fault{{Command: populate, Short: 100, Times: 3}}, 5},
		"tokens of one block":    {[]target.Fault{{Command: populate, Short: 1, Times: 20}}, 22},
		"short write":            {[]target.Fault{{Command: write, Short: 100, Times: 3}}, 5},
		"short, and the rest":    {[]target.Fault{{Command: write, Short: 601, Times: 1}, {Command: write, Skip: 0, Times: 1, Short: 7}}, 4},
		"short everything":       {[]target.Fault{{Command: populate, Short: 37}, {Command: write, Short: 9}}, 0},
		"expired":                {[]target.Fault{{Command: write, Expire: true, Times: 3}}, 5},
		"revoked":                {[]target.Fault{{Command: write, Revoke: true, Times: 3}}, 5},
		"expired in the middle":  {[]target.Fault{{Command: write, Short: 50, Times: 1}, {Command: write, Expire: true, Times: 1}}, 4},
		"revoked in the middle":  {[]target.Fault{{Command: write, Short: 1, Times: 1}, {Command: write, Revoke: true, Times: 2}}, 5},
		"token of another life":  {[]target.Fault{{Command: write, Times: 1, Sense: scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x23, ASCQ: 4}}}, 3},
		"busy":                   {[]target.Fault{{Command: populate, Times: 1, Status: scsi.Busy}, {Command: write, Times: 1, Status: scsi.TaskSetFull}}, 3},
		"attention":              {[]target.Fault{{Command: populate, Times: 1, Sense: attention}, {Command: write, Times: 1, Sense: attention}}, 3},
		"identifier in use":      {[]target.Fault{{Command: populate, Times: 1, Sense: busy}, {Command: write, Times: 1, Sense: busy}}, 3},
		"asked with attention":   {[]target.Fault{{Command: receive, Times: 2, Sense: attention}}, 2},
		"slow, and asked for it": {[]target.Fault{{Command: populate, Work: 50 * time.Millisecond}, {Command: write, Work: 50 * time.Millisecond}}, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newTokenRig(t, true, blocks.Options{InFlight: 1}, nil)
			for _, f := range tc.faults {
				r.target.Inject(f)
			}
			result := r.check(someMoves...)
			if blocksIn(result.Done) != 951 {
				t.Errorf("%s: %+v", name, result)
			}
			if n := r.target.Count(write); tc.writes != 0 && n != tc.writes {
				t.Errorf(name+": %d writes, want %d", n, tc.writes)
			}
		})
	}
}

// What cannot be copied by tokens, and what is made of it.
func TestTokenCopyGivesUp(t *testing.T) {
	const populate, write, receive = "populate-token", "write-using-token", "receive-token"
	one := []blocks.Piece{move(0, 2000, 600)}
	sense := func(asc, ascq uint8) scsi.SenseCode {
		return scsi.SenseCode{Key: scsi.IllegalRequest, ASC: asc, ASCQ: ascq}
	}
	for name, tc := range map[string]struct {
		fault  target.Fault
		action blocks.Action
		first  blocks.Action // if the pair has not copied before
		reason string
		clean  bool // nothing was written
	}{
		"always expired":      {target.Fault{Command: write, Expire: true}, blocks.ActionEmulate, blocks.ActionNotSupported, "device:sense-5-23-07", false},
		"always revoked":      {target.Fault{Command: write, Revoke: true}, blocks.ActionEmulate, blocks.ActionNotSupported, "device:sense-5-23-06", false},
		"no room for tokens":  {target.Fault{Command: populate, Sense: sense(0x55, 0x0D)}, blocks.ActionBackOff, blocks.ActionBackOff, "device:sense-5-55-0d", true},
		"unknown command":     {target.Fault{Command: populate, Sense: sense(0x20, 0)}, blocks.ActionNotSupported, blocks.ActionNotSupported, "device:sense-5-20-00", true},
		"reserved":            {target.Fault{Command: write, Status: scsi.ReservationConflict}, blocks.ActionSurface, blocks.ActionSurface, "device:status-0x18", true},
		"remote tokens":       {target.Fault{Command: write, Sense: sense(0x23, 2)}, blocks.ActionNotSupported, blocks.ActionNotSupported, "device:sense-5-23-02", false},
		"bad medium":          {target.Fault{Command: populate, Sense: scsi.SenseCode{Key: scsi.MediumError, ASC: 0x11}}, blocks.ActionEmulate, blocks.ActionEmulate, "device:sense-3-11-00", true},
		"nothing told":        {target.Fault{Command: receive, Sense: sense(0x24, 0)}, blocks.ActionEmulate, blocks.ActionNotSupported, "device:untold", true},
		"token is cut off":    {target.Fault{Command: receive, Times: 1, Residual: 300}, blocks.ActionEmulate, blocks.ActionNotSupported, "device:untold", true},
		"count is cut off":    {target.Fault{Command: receive, Skip: 1, Residual: 1000}, blocks.ActionEmulate, blocks.ActionNotSupported, "device:untold", false},
		"list is cut off":     {target.Fault{Command: populate, Residual: 16}, blocks.ActionEmulate, blocks.ActionEmulate, "device:short-transfer", true},
		"writes are cut off":  {target.Fault{Command: write, Residual: 16}, blocks.ActionEmulate, blocks.ActionEmulate, "device:short-transfer", false},
		"too much written":    {target.Fault{Command: write, Lie: 601}, blocks.ActionEmulate, blocks.ActionNotSupported, "device:untold", false},
		"token is lost":       {target.Fault{Command: populate, Lose: true}, blocks.ActionBackOff, blocks.ActionBackOff, "device:timeout", true},
		"never asked for":     {target.Fault{Command: populate, Drop: true}, blocks.ActionBackOff, blocks.ActionBackOff, "device:timeout", true},
		"completion is lost":  {target.Fault{Command: write, Lose: true}, blocks.ActionEmulate, blocks.ActionEmulate, "device:timeout", false},
		"taken back":          {target.Fault{Command: write, Work: time.Hour}, blocks.ActionEmulate, blocks.ActionEmulate, "device:timeout", false},
		"a ghost is aborted":  {target.Fault{Command: write, Work: time.Hour, Ghost: true}, blocks.ActionEmulate, blocks.ActionEmulate, "device:timeout", false},
		"a read goes on":      {target.Fault{Command: populate, Work: time.Hour, Ghost: true}, blocks.ActionBackOff, blocks.ActionBackOff, "device:timeout", true},
		"beyond all patience": {target.Fault{Command: write, Sense: scsi.SenseCode{Key: scsi.UnitAttention, ASC: 0x29}}, blocks.ActionBackOff, blocks.ActionBackOff, "device:sense-6-29-00", false},
	} {
		for _, before := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) { // time passes at once
				r := newTokenRig(t, true, blocks.Options{Timeout: time.Second, Grace: 400 * time.Millisecond}, nil)
				want := tc.first
				if before {
					want = tc.action
					if result := r.check(move(5, 5, 1)); len(result.Done) != 1 {
						t.Fatalf("%+v", result)
					}
				}
				r.target.Inject(tc.fault)
				result := r.check(one...)
				if len(result.Redo) != 1 || len(result.Done)+len(result.Fenced) != 0 {
					t.Fatalf("%s, %v: %+v", name, before, result)
				}
				if f := result.Redo[0]; f.Action != want || f.Reason != tc.reason || f.Untouched != tc.clean || f.Err == nil {
					t.Errorf("%s, %v: %+v", name, before, f)
				}
				if n := len(r.target.Log()); n > 80 {
					t.Errorf("%s: %d commands", name, n)
				}
			})
		}
	}
}

// A write of which nobody knows whether it will come is fenced, as a whole.
func TestTokenCopyFences(t *testing.T) { synctest.Test(t, fences) }

func fences(t *testing.T) {
	r := newTokenRig(t, true, blocks.Options{Timeout: 500 * time.Millisecond, Grace: 400 * time.Millisecond}, nil)
	r.target.Inject(target.Fault{Command: "write-using-token", Times: 1, Drop: true})
	result := r.check(move(0, 2000, 600))
	if len(result.Fenced) != 1 || len(result.Done)+len(result.Redo) != 0 {
		t.Fatalf("%+v", result)
	}
	if _, err := r.Copy(t.Context(), []blocks.Piece{move(0, 2599, 1)}); !errors.Is(err, blocks.ErrFenced) {
		t.Error(err)
	}
	if result := r.check(move(0, 2600, 1)); len(result.Done) != 1 {
		t.Errorf("%+v", result)
	}
}

// A write that was taken back and goes on until it is through with its work, because
// the target does not abort: nobody touches its blocks before.
func TestTokenCopyWaitsForGhosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newTokenRig(t, true, blocks.Options{Timeout: time.Second, Grace: 30 * time.Second}, nil)
		r.target.Inject(target.Fault{Command: "write-using-token", Work: 11 * time.Second, Ghost: true})
		r.target.Inject(target.Fault{Command: "copy-operation-abort", Sense: scsi.SenseCode{Key: scsi.IllegalRequest, ASC: 0x20}})
		began := time.Now()
		result := r.check(move(0, 2000, 600))
		if took := time.Since(began); len(result.Redo) != 1 || len(result.Fenced) != 0 || took < 11*time.Second || took > 15*time.Second {
			t.Errorf("after %v: %+v", took, result)
		}
	})
}

// A part that is known to be done does not come again.
func TestTokenCopyAccountsForParts(t *testing.T) {
	r := newTokenRig(t, true, blocks.Options{InFlight: 1}, nil)
	r.target.Inject(target.Fault{Command: "write-using-token", Times: 1, Short: 650})
	r.target.Inject(target.Fault{Command: "write-using-token", Sense: scsi.SenseCode{Key: scsi.MediumError, ASC: 0x0C}})
	result := r.check(move(0, 2000, 600), move(700, 2700, 100))
	if blocksIn(result.Done) != 600 || len(result.Redo) != 1 || result.Redo[0].Piece != move(700, 2700, 100) || result.Redo[0].Untouched {
		t.Errorf("%+v", result)
	}
}

// A target that takes less than it says.
func TestTokenCopyShrinks(t *testing.T) {
	r := newTokenRig(t, true, blocks.Options{}, nil)
	r.target.Enforce(&target.TokenLimits{Ranges: 2, TransferBlocks: 100, MaxTimeout: 600})
	if result := r.check(someMoves...); blocksIn(result.Done) != 951 || result.Again == 0 || r.Limits().Blocks > 100 {
		t.Errorf("%v, %+v", r.Limits(), result)
	}
	r.target.Enforce(&target.TokenLimits{})
	if result := r.check(move(0, 100, 50)); len(result.Redo) != 1 || result.Redo[0].Action != blocks.ActionNotSupported || !result.Redo[0].Untouched {
		t.Errorf("%+v", result)
	}
}

func TestTokenCopyLooks(t *testing.T) {
	r := newTokenRig(t, true, blocks.Options{}, nil)
	no := errors.New("no")
	r.target.Inject(target.Fault{Command: "write-using-token", Times: 1, Short: 10})
	var seen []blocks.Piece
	result, err := r.CopyGuarded(t.Context(), []blocks.Piece{move(0, 2000, 30)}, nil, func(p []blocks.Piece) error {
		seen = append(seen, p...)
		if len(seen) > 1 {
			return no
		}
		return nil
	})
	if err != nil || len(result.Redo) != 1 || result.Redo[0].Action != blocks.ActionReresolve || !errors.Is(result.Redo[0].Err, no) || result.Redo[0].Untouched {
		t.Errorf("%+v, %v", result, err)
	}
	if len(seen) != 2 || seen[1] != move(10, 2010, 20) || r.target.Count("write-using-token") != 1 {
		t.Errorf("looked at %v", seen)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	result, err = r.Copy(ctx, []blocks.Piece{move(0, 2000, 30)})
	if err != nil || len(result.Redo) != 1 || result.Redo[0].Action != blocks.ActionCanceled || r.target.Count("write-using-token") != 1 {
		t.Errorf("%+v, %v", result, err)
	}
}

// A unit that is not the one any more that was probed gets nothing.
func TestTokenCopyRechecks(t *testing.T) {
	r := newTokenRig(t, true, blocks.Options{}, nil)
	if err := r.target.Impersonate(1, 0); err != nil {
		t.Fatal(err)
	}
	if result := r.check(move(0, 2000, 30)); len(result.Redo) != 1 || result.Redo[0].Action != blocks.ActionReresolve || !result.Redo[0].Untouched {
		t.Errorf("%+v", result)
	}
	if n := r.target.Count("populate-token"); n != 0 {
		t.Errorf("%d tokens", n)
	}
}

func TestSpanTokens(t *testing.T) {
	xcopy := target.DefaultCopyLimits()
	for name, tc := range map[string]struct {
		edit func(*target.Config)
		make func(*target.Target) error
		want string
	}{
		"able":            {nil, nil, ""},
		"EXTENDED COPY":   {func(c *target.Config) { c.XCopy = xcopy }, nil, ""},
		"no tokens":       {func(c *target.Config) { c.XCopy, c.Tokens = xcopy, nil }, nil, "domain:no-copy-command"},
		"no copies":       {func(c *target.Config) { c.Tokens = nil }, nil, "domain:no-copy-command"},
		"other blocks":    {func(c *target.Config) { c.Disks[1].BlockSize, c.Disks[1].Blocks = 4096, 64 }, nil, "domain:block-size"},
		"one name, twice": {nil, func(t *target.Target) error { return t.Impersonate(1, 0) }, "domain:duplicate-designator"},
	} {
		c := target.Config{Disks: []target.Disk{{Blocks: 64, BlockSize: 512}, {Blocks: 64, BlockSize: 512}}, Tokens: target.DefaultTokenLimits()}
		if tc.edit != nil {
			tc.edit(&c)
		}
		made, err := target.New(c)
		if err == nil && tc.make != nil {
			err = tc.make(made)
		}
		if err != nil {
			t.Fatal(err)
		}
		var d [2]*scsi.Device
		for i := range d {
			if d[i], err = scsi.Probe(t.Context(), made.Unit("me", i)); err != nil {
				t.Fatal(err)
			}
		}
		limits, support := scsi.SpanTokens(d[0], d[1])
		if support.Reason != tc.want || (support.Able == blocks.Yes) != (tc.want == "") || (limits != scsi.TokenLimits{}) != (tc.want == "") {
			t.Errorf("%s: %+v, %+v", name, limits, support)
		}
		if d[0].Copies() != (name != "no copies") {
			t.Errorf("%s: copies %v", name, d[0].Copies())
		}
		if _, err := scsi.NewTokenCopier(d[0], d[1], blocks.Options{}); (err == nil) != (tc.want == "") || err != nil && !errors.Is(err, blocks.ErrNotSupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other, err := target.New(target.Config{Number: 1, Disks: []target.Disk{{Blocks: 64, BlockSize: 512}}, Tokens: target.DefaultTokenLimits()})
	if err != nil {
		t.Fatal(err)
	}
	r := newTokenRig(t, true, blocks.Options{}, nil)
	a, err := scsi.Probe(t.Context(), other.Unit("me", 0))
	if err != nil {
		t.Fatal(err)
	}
	b, err := scsi.Probe(t.Context(), r.target.Unit("me", 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, s := scsi.SpanTokens(a, b); s.Reason != "domain:different-target" {
		t.Errorf("%+v", s)
	}
}

// TestTokenCopyIsTooLate: each command that asks for a token or writes one is looked at, and
// what is too late for its command was not begun.
func TestTokenCopyIsTooLate(t *testing.T) {
	for begun := range 4 { // tokens for 20 blocks, each of which is asked for and written
		r := newTokenRig(t, true, blocks.Options{InFlight: 1, MaxCommandBytes: 20 * 512}, nil)
		asked := 0
		result, err := r.CopyGuarded(t.Context(), []blocks.Piece{move(0, 2000, 40)}, func() boottime.Instant {
			if asked++; asked > begun {
				return 0
			}
			return boottime.Forever - 1
		}, func([]blocks.Piece) error { return nil })
		done := uint64(begun / 2 * 20)
		if err != nil || asked != begun+1 || len(result.Redo) == 0 || result.Redo[0].DstLBA != 2000+done {
			t.Errorf("asked %d times: %v, %+v", asked, err, result)
			continue
		}
		for _, f := range result.Redo {
			if f.Action != blocks.ActionExpired || !f.Untouched || !errors.Is(f.Err, boottime.ErrPassed) {
				t.Errorf("%+v", f)
			}
		}
	}
}
