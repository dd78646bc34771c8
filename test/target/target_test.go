package target

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
)

const me = "initiator"

// twoDisks of 4 MiB, and one with long blocks.
func twoDisks(t testing.TB, edit func(*Config)) *Target {
	t.Helper()
	c := Config{Disks: []Disk{{Blocks: 8192, BlockSize: 512}, {Blocks: 8192, BlockSize: 512}, {Blocks: 512, BlockSize: 4096}}, Tokens: DefaultTokenLimits()}
	if edit != nil {
		edit(&c)
	}
	made, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range made.Units() {
		b := bytes.Repeat([]byte{byte(i + 1)}, 1<<20)
		for at := 0; at < len(b); at += 512 { // every sector is another one
			binary.BigEndian.PutUint32(b[at:], uint32(at))
		}
		if err := made.Fill(i, b, 0); err != nil {
			t.Fatal(err)
		}
		made.do(t, i, "00 00 00 00 00 00", nil, 0) // takes the attention
	}
	return made
}

// do executes a command that is written in hexadecimal.
func (t *Target) do(tb testing.TB, unit int, cdb string, out []byte, room int) Reply {
	tb.Helper()
	return t.Execute(tb.Context(), &Command{Nexus: me, Unit: unit, CDB: unhex(tb, cdb), Out: out, Room: room})
}

func unhex(tb testing.TB, text string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// The lists below are written by hand, from the tables of SBC-3 and SPC-4.
const (
	// Blocks 16 to 23 and 32 to 39, for the default time.
	populateList = `002E 00 00 00000000 00000000 0000 0020
		0000000000000010 00000008 00000000
		0000000000000020 00000008 00000000`
	populateCDB = "83 10 00000000 00000101 00000030 00 00"
	receiveCDB  = "84 07 00000101 00000000 00000400 00 00"
	// To blocks 64 to 79, from the beginning of the token.
	writeHead = "0226 00 00000000 00 0000000000000000"
	writeTail = "000000000000 0010 0000000000000040 00000010 00000000"
	writeCDB  = "83 11 00000000 00000102 00000228 00 00"
	statusCDB = "84 07 00000102 00000000 00000400 00 00"
)

func (t *Target) tokenOf(tb testing.TB, unit int) []byte {
	tb.Helper()
	if r := t.do(tb, unit, populateCDB, unhex(tb, populateList), 0); r.Status != scsi.Good {
		tb.Fatalf("populate token: %v", r.code)
	}
	r := t.do(tb, unit, receiveCDB, nil, 1024)
	if r.Status != scsi.Good || len(r.In) != 32+6+tokenSize {
		tb.Fatalf("receive token: %v, %d bytes", r.code, len(r.In))
	}
	return r.In[38:]
}

func writeList(tb testing.TB, token []byte) []byte {
	return append(append(unhex(tb, writeHead), token...), unhex(tb, writeTail)...)
}

func (t *Target) blocksOf(tb testing.TB, unit int, lba, n int64) []byte {
	tb.Helper()
	b := make([]byte, n*512)
	if err := t.Bytes(unit, b, lba*512); err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestTokenCopy(t *testing.T) {
	made := twoDisks(t, nil)
	if r := made.do(t, 0, populateCDB, unhex(t, populateList), 0); r.Status != scsi.Good {
		t.Fatal(r.code)
	}
	told := made.do(t, 0, receiveCDB, nil, 1024).In
	want := unhex(t, `00000222 10 01 0000 FFFFFFFE 00 00 00 F1 0000000000000010 0000 000000000000 00000202 0000
		00010000 0000 01F8 0000000000000001 E4000000`)
	if !bytes.HasPrefix(told, want) {
		t.Errorf("told\n% x, want\n% x", told[:len(want)], want)
	}
	if again := made.do(t, 0, receiveCDB, nil, 1024); again.code != invalidCDB {
		t.Errorf("told twice: %v", again.code)
	}
	if r := made.do(t, 1, writeCDB, writeList(t, told[38:]), 0); r.Status != scsi.Good {
		t.Fatal(r.code)
	}
	if got := made.do(t, 1, statusCDB, nil, 1024).In; !bytes.Equal(got, unhex(t, "00000020 11 01 0000 FFFFFFFE 00 00 00 F1 0000000000000010 0000 000000000000 00000000")) {
		t.Errorf("% x", got)
	}
	from := append(made.blocksOf(t, 0, 16, 8), made.blocksOf(t, 0, 32, 8)...)
	if !bytes.Equal(made.blocksOf(t, 1, 64, 16), from) {
		t.Error("other blocks arrived")
	}
}

func TestZeroToken(t *testing.T) {
	made := twoDisks(t, nil)
	zero := append(unhex(t, "FFFF0001 0000 01F8"), make([]byte, 504)...)
	if r := made.do(t, 1, writeCDB, writeList(t, zero), 0); r.Status != scsi.Good {
		t.Fatal(r.code)
	}
	if !bytes.Equal(made.blocksOf(t, 1, 64, 16), make([]byte, 16*512)) {
		t.Error("not zeroes")
	}
	if bytes.Equal(made.blocksOf(t, 1, 80, 1), make([]byte, 512)) {
		t.Error("too many of them")
	}
}

// What is refused, with its sense code, and that nothing is written then.
func TestTokenRefusals(t *testing.T) {
	edit := func(at int, value ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], value); return b }
	}
	same := func(b []byte) []byte { return b }
	for name, tc := range map[string]struct {
		populate, write func([]byte) []byte
		between         func(*Target)
		want            scsi.SenseCode
	}{
		"short list":          {func(b []byte) []byte { return b[:40] }, nil, nil, listLength},
		"wrong length":        {edit(1, 0x2F), nil, nil, invalidList},
		"reserved":            {edit(3, 1), nil, nil, invalidList},
		"no ranges":           {edit(15, 0), nil, nil, invalidList},
		"reserved in a range": {edit(31, 1), nil, nil, invalidList},
		"a type that is not":  {edit(2, 2, 0, 0, 0, 0, 0, 0, 0x80, 0, 0), nil, nil, invalidList},
		"too long a life":     {edit(6, 0xFF, 0xFF), nil, nil, invalidList},
		"beyond the end":      {edit(16, 0, 0, 0, 0, 0, 0, 0x1F, 0xF9), nil, nil, outOfRange},
		"twice":               {edit(32, 0, 0, 0, 0, 0, 0, 0, 0x17), nil, nil, invalidList},
		"write, no token":     {same, edit(16, make([]byte, 512)...), nil, tokenLength},
		"write, other type":   {same, edit(16, 0, 0x80), nil, tokenCorrupt},
		"write, one bit":      {same, edit(500, 1, 2, 3, 4), nil, tokenUnknown},
		"write, offset":       {same, edit(15, 1), nil, invalidList},
		"write, reserved":     {same, edit(533, 1), nil, invalidList},
		"write, early ranges": {same, func(b []byte) []byte { return append(b[:535], append(b[536:], 0)...) }, nil, invalidList},
		"revoked":             {same, same, (*Target).Revoke, tokenRevoked},
		"expired":             {same, same, (*Target).Expire, tokenExpired},
		"too many ranges":     {same, nil, func(t *Target) { t.Enforce(&TokenLimits{Ranges: 1}) }, tooManySegments},
		"too many blocks":     {same, nil, func(t *Target) { t.Enforce(&TokenLimits{TransferBlocks: 15}) }, invalidList},
	} {
		made := twoDisks(t, nil)
		before := made.blocksOf(t, 1, 0, 128)
		var got Reply
		if tc.write == nil {
			if tc.between != nil {
				tc.between(made)
			}
			list := tc.populate(unhex(t, populateList))
			got = made.do(t, 0, populateCDB, list, 0)
		} else {
			token := made.tokenOf(t, 0)
			if tc.between != nil {
				tc.between(made)
			}
			got = made.do(t, 1, writeCDB, tc.write(writeList(t, token)), 0)
		}
		if got.Status != scsi.CheckCondition || got.code != tc.want {
			t.Errorf("%s: %v, want %v", name, got.code, tc.want)
		}
		if !bytes.Equal(before, made.blocksOf(t, 1, 0, 128)) {
			t.Errorf("%s: something was written", name)
		}
	}
}

func TestTokenExpires(t *testing.T) {
	now := time.Unix(0, 0)
	made := twoDisks(t, func(c *Config) { c.Now = func() time.Time { return now } })
	token := made.tokenOf(t, 0)
	now = now.Add(time.Minute)
	if r := made.do(t, 1, writeCDB, writeList(t, token), 0); r.Status != scsi.Good || made.Tokens() != 1 {
		t.Errorf("after a minute: %v", r.code)
	}
	now = now.Add(time.Minute + time.Second)
	if r := made.do(t, 1, writeCDB, writeList(t, token), 0); r.code != tokenExpired || made.Tokens() != 0 {
		t.Errorf("after another one: %v", r.code)
	}
}

func TestDeletedToken(t *testing.T) {
	made := twoDisks(t, nil)
	list := writeList(t, made.tokenOf(t, 0))
	list[2] = 2
	if r := made.do(t, 1, writeCDB, list, 0); r.Status != scsi.Good {
		t.Fatal(r.code)
	}
	if r := made.do(t, 1, writeCDB, list, 0); r.code != tokenDeleted {
		t.Error(r.code)
	}
}

func TestFaults(t *testing.T) {
	const write = "write-using-token"
	for name, tc := range map[string]struct {
		fault  Fault
		code   scsi.SenseCode
		lost   bool
		status string // head of what the operation is told to be, empty: nothing is told
		state  string // of the 16 blocks, in words of four: c copied, x copied with a wrong bit, - as before
	}{
		"none":    {Fault{Command: "read", Drop: true}, scsi.SenseCode{}, false, "11 01 0000 FFFFFFFE 00 00 00 F1 0000000000000010", "cccc"},
		"short":   {Fault{Command: write, Short: 4}, scsi.SenseCode{}, false, "11 04 0000 FFFFFFFE 00 00 00 F1 0000000000000004", "c---"},
		"lie":     {Fault{Command: write, Short: 4, Lie: 16}, scsi.SenseCode{}, false, "11 04 0000 FFFFFFFE 00 00 00 F1 0000000000000010", "c---"},
		"corrupt": {Fault{Command: write, Corrupt: true}, scsi.SenseCode{}, false, "11 01", "ccxc"},
		"lose":    {Fault{Command: write, Lose: true}, scsi.SenseCode{}, true, "11 01", "cccc"},
		"drop":    {Fault{Command: write, Drop: true}, scsi.SenseCode{}, true, "", "----"},
		"sense":   {Fault{Command: write, Sense: mediumUnreachable}, mediumUnreachable, false, "", "----"},
		"revoke":  {Fault{Command: write, Revoke: true}, tokenRevoked, false, "", "----"},
		"expire":  {Fault{Command: write, Expire: true}, tokenExpired, false, "", "----"},
	} {
		made := twoDisks(t, nil)
		token := made.tokenOf(t, 0)
		before := made.blocksOf(t, 1, 64, 16)
		made.Inject(tc.fault)
		r := made.do(t, 1, writeCDB, writeList(t, token), 0)
		if r.code != tc.code || r.Lost != tc.lost {
			t.Errorf("%s: %+v", name, r)
		}
		told := made.do(t, 1, statusCDB, nil, 1024)
		if want := unhex(t, tc.status); (len(want) == 0) != (told.Status != scsi.Good) || len(want) > 0 && !bytes.HasPrefix(told.In[4:], want) {
			t.Errorf("%s: told % x, want % x", name, told.In, want)
		}
		from := append(made.blocksOf(t, 0, 16, 8), made.blocksOf(t, 0, 32, 8)...)
		now, state := made.blocksOf(t, 1, 64, 16), ""
		for at := 0; at < len(now); at += 2048 {
			switch word := now[at : at+2048]; {
			case bytes.Equal(word, from[at:at+2048]):
				state += "c"
			case bytes.Equal(word, before[at:at+2048]):
				state += "-"
			default:
				state += "x"
			}
		}
		if state != tc.state {
			t.Errorf("%s: %s, want %s", name, state, tc.state)
		}
	}
}

func TestFaultCounts(t *testing.T) {
	made := twoDisks(t, nil)
	unit := 1
	made.Inject(Fault{Command: "test-unit-ready", Unit: &unit, Skip: 1, Times: 2, Status: scsi.Busy})
	for i, want := range []scsi.Status{scsi.Good, scsi.Busy, scsi.Busy, scsi.Good} {
		if r := made.do(t, 1, "00 00 00 00 00 00", nil, 0); r.Status != want {
			t.Errorf("%d: %v", i, r.Status)
		}
		if r := made.do(t, 0, "00 00 00 00 00 00", nil, 0); r.Status != scsi.Good {
			t.Errorf("other unit: %v", r.Status)
		}
	}
	if err := made.Clear(); err != nil {
		t.Fatal(err)
	}
}

// An operation in the background: asked for, aborted, taken back.
func TestRunningOperation(t *testing.T) {
	const abortCDB = "83 1C 00000102 000000000000000000 00"
	made := twoDisks(t, nil)
	list := writeList(t, made.tokenOf(t, 0))
	list[2] = 1 // IMMED
	made.Inject(Fault{Command: "write-using-token", Work: time.Hour})
	if r := made.do(t, 1, writeCDB, list, 0); r.Status != scsi.Good {
		t.Fatal(r.code)
	}
	if b := made.do(t, 1, statusCDB, nil, 1024).In; !bytes.Equal(b, unhex(t, "00000020 11 12 0000 00000014 00 00 00 F1 0000000000000000 0000 000000000000 00000000")) {
		t.Errorf("% x", b)
	}
	if r := made.do(t, 1, writeCDB, list, 0); r.code != operationRunning {
		t.Errorf("twice: %v", r.code)
	}
	if r := made.do(t, 1, abortCDB, nil, 0); r.Status != scsi.Good {
		t.Error(r.code)
	}
	if r := made.do(t, 1, abortCDB, nil, 0); r.code != invalidCDB {
		t.Error(r.code)
	}
	if b := made.do(t, 1, statusCDB, nil, 1024).In; b[5] != statusTerminated || binary.BigEndian.Uint64(b[16:]) != 0 {
		t.Errorf("% x", b)
	}
	list[2] = 0
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := made.Execute(ctx, &Command{Nexus: me, Unit: 1, CDB: unhex(t, writeCDB), Out: list}); !r.Lost {
		t.Errorf("taken back: %+v", r)
	}
	made.Lose(me)
	if r := made.do(t, 1, "00 00 00 00 00 00", nil, 0); r.code != powerOn {
		t.Errorf("a new initiator is told %v", r.code)
	}
}

func TestImpersonate(t *testing.T) {
	made := twoDisks(t, nil)
	own, other := made.Identity(1), made.Identity(0)
	if err := made.Impersonate(1, 0); err != nil {
		t.Fatal(err)
	}
	if id := made.Identity(1); !id.Designators[0].Equal(other.Designators[0]) || id.Serial != other.Serial || id.Capacity != own.Capacity {
		t.Errorf("%+v", id)
	}
	if err := made.Clear(); err != nil || !made.Identity(1).Equal(own) {
		t.Error(err, made.Identity(1))
	}
	if made.Impersonate(3, 0) == nil {
		t.Error("a unit that is not there")
	}
}

// Nothing of what comes in may hurt.
func FuzzExecute(f *testing.F) {
	f.Add(0, unhex(f, populateCDB), unhex(f, populateList), 0)
	f.Add(1, unhex(f, writeCDB), writeList(f, make([]byte, 512)), 0)
	f.Add(0, unhex(f, receiveCDB), []byte(nil), 1024)
	f.Add(0, unhex(f, "12 01 8F 0400 00"), []byte(nil), 1024)
	f.Add(0, unhex(f, "1A 00 3F 00 40 00"), []byte(nil), 64)
	f.Add(9, unhex(f, "A0 00 00 00 00 00 00000040 00 00"), []byte(nil), 64)
	f.Add(0, unhex(f, "28 00 00000000 00 0008 00"), []byte(nil), 4096)
	f.Add(0, unhex(f, copyCDB), unhex(f, copyOf01), 0)
	f.Add(0, unhex(f, copyStatusCDB), []byte(nil), 1024)
	f.Add(0, unhex(f, copyFailureCDB), []byte(nil), 1024)
	made, err := New(Config{Disks: []Disk{{Blocks: 64, BlockSize: 512}, {Blocks: 64, BlockSize: 512}}, Tokens: DefaultTokenLimits(), XCopy: DefaultCopyLimits()})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, unit int, cdb, out []byte, room int) {
		r := made.Execute(t.Context(), &Command{Nexus: me, Unit: unit, CDB: cdb, Out: out, Room: min(room, 1<<20)})
		if len(r.In) > max(room, 0) || r.Lost {
			t.Errorf("%+v", r)
		}
	})
}
