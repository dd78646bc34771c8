package dmtable

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dmtable/dmtest"
	"github.com/dmcopy/dmcopy/remap"
)

func active(dev remap.Dev, lines ...string) dmtest.Device {
	return dmtest.Device{Dev: dev, Name: "test", Flags: unix.DM_ACTIVE_PRESENT_FLAG, Lines: lines}
}

// A table that does not fit is asked for again, with room for all its lines.
func TestBufferGrows(t *testing.T) {
	const lines = 100_000
	k := dmtest.New(manyLines(lines))
	table, err := New(k).Table(devOther)
	if err != nil {
		t.Fatal(err)
	}
	if len(table.Targets) != lines || table.Targets[lines-1].Params != "8:32 64" {
		t.Errorf("%d targets, the last is %+v", len(table.Targets), table.Targets[len(table.Targets)-1])
	}
	if k.Calls() != 3 {
		t.Errorf("%d ioctls, want the first, one with a bigger buffer, and one for the dependencies", k.Calls())
	}
}

// Lines longer than the guess take more rounds; a kernel that is never content
// is given up.
func TestBufferLimit(t *testing.T) {
	var line strings.Builder
	line.WriteString("0 4000000 striped 4000 8")
	for i := range 4000 {
		fmt.Fprintf(&line, " 8:%d %d", i, i)
	}
	k := dmtest.New(active(devOther, line.String()))
	if table, err := New(k).Table(devOther); err != nil || len(table.Deps) != 4000 {
		t.Errorf("a long line: %v", err)
	}
	small := New(k)
	small.limit = 2 * firstBuffer
	if _, err := small.Table(devOther); !errors.Is(err, ErrTooBig) {
		t.Errorf("a table above the limit: %v", err)
	}
}

func TestNoDevice(t *testing.T) {
	c := New(dmtest.New())
	for op, err := range map[string]error{
		"Table": second(c.Table(devHome)), "State": second(c.State(devHome)), "Info": second(c.Info(devHome)),
	} {
		var e *Error
		if !errors.Is(err, ErrNoDevice) || !errors.Is(err, unix.ENXIO) || !errors.As(err, &e) || e.Dev != devHome {
			t.Errorf("%s: %v", op, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// Every errno of the kernel comes through.
func TestKernelErrors(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EACCES, unix.ENOMEM, unix.EINVAL, unix.ENOTTY} {
		_, err := New(failing{errno}).Table(devHome)
		if !errors.Is(err, errno) {
			t.Errorf("%v became %v", errno, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Ioctl(uint, []byte) error { return f.err }
func (f failing) Close() error             { return nil }

func TestList(t *testing.T) {
	c := New(dmtest.New(active(devOther), active(devHome)))
	got, err := c.List()
	if err != nil || !reflect.DeepEqual(got, []Listed{{devOther, "test", ""}, {devHome, "test", ""}}) {
		t.Errorf("got %v, %v", got, err)
	}
}

// The state follows every change of the table, and is the same without one.
func TestStateFollowsTheTable(t *testing.T) {
	k := dmtest.New(active(devOther, "0 8 linear 8:16 0"))
	c := New(k)
	seen := make(map[remap.Fingerprint]string)
	for _, d := range []dmtest.Device{
		active(devOther, "0 8 linear 8:16 0"),
		active(devOther, "0 8 linear 8:16 8"),
		active(devOther, "0 8 linear 8:17 0"),
		active(devOther, "0 16 linear 8:16 0"),
		active(devOther, "0 8 striped 1 8 8:16 0"),
		active(devOther, "0 4 linear 8:16 0", "4 4 linear 8:16 4"),
		{Dev: devOther, Name: "renamed", Flags: unix.DM_ACTIVE_PRESENT_FLAG, Lines: []string{"0 8 linear 8:16 0"}},
	} {
		k.Set(d)
		state, err := c.State(devOther)
		again, err2 := New(k).State(devOther)
		if err != nil || err2 != nil || state != again {
			t.Fatalf("%v: %v %v, %v %v", d.Lines, state, err, again, err2)
		}
		if other, ok := seen[state.Print]; ok {
			t.Errorf("%v has the print of %v", d.Lines, other)
		}
		seen[state.Print] = fmt.Sprint(d.Lines)
	}
}

func TestConcurrentUse(t *testing.T) {
	k := dmtest.New(active(devOther, "0 8 linear 8:16 0"), manyLines(1000))
	c := New(k)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if _, err := c.Table(devOther); err != nil {
					t.Error(err)
				}
				if _, err := c.State(devOther); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// recorder keeps each buffer that the kernel was given.
type recorder struct {
	Kernel
	bufs [][]byte
}

func (s *recorder) Ioctl(command uint, buf []byte) error {
	s.bufs = append(s.bufs, buf)
	return s.Kernel.Ioctl(command, buf)
}

// No key survives reading a table: not in the table, not in how it is printed
// or stored, not in the buffers that it was read into.
func TestNoKeySurvives(t *testing.T) {
	const key = "d0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeef"
	raw := []byte("\xd0\xd1\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9")
	for _, line := range []string{
		"crypt aes-xts-plain64 " + key + " 0 8:16 4096",
		"crypt aes-xts-plain64 " + key + " 0 8:16 4096 1 allow_discards",
		"crypt aes-xts-plain64 " + key + " 0 8:16 4096 1 unknown",
		"crypt " + key + " aes-xts-plain64 0 8:16 4096",
		"crypt aes-xts-plain64 1 " + key + " 8:16 4096",
		"crypt aes-xts-plain64 " + key + " " + key + " " + key + " " + key + " 1 " + key,
		"crypt aes-xts-plain64 :64:logon:" + key + " 0 8:16 4096",
		"crypt " + key,
		"inlinecrypt aes-xts-plain64 " + key + " 1 0 8:16 4096",
		"integrity 8:16 0 32 J 1 internal_hash:hmac(sha256):" + key,
		"default-key aes-xts-plain64 " + key + " 0 8:16 0",
		"unheard-of " + key,
	} {
		// Many lines make the buffer grow: the first one must be wiped too.
		d := active(devOther)
		for i := range 300 {
			d.Lines = append(d.Lines, fmt.Sprintf("%d 8 %s", i*8, line))
		}
		k := &recorder{Kernel: dmtest.New(d)}
		table, err := New(k).Table(devOther)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := json.Marshal(table)
		if err != nil {
			t.Fatal(err)
		}
		var places []string
		for _, target := range table.Targets[:1] {
			places = append(places, fmt.Sprintf("%+v %#v %+v", target, target, target.Crypt))
		}
		places = append(places, string(stored), fmt.Sprintf("%+v", table), fmt.Sprintf("%#v", table),
			fmt.Sprintf("%+v", table.Layer().Map(remap.Read, 0, 1)))
		for _, place := range places {
			for n := 8; n <= len(key); n += 8 {
				if strings.Contains(strings.ToLower(place), key[:n]) || bytes.Contains([]byte(place), raw[:4]) {
					t.Fatalf("%s: the key is in %s", line, place)
				}
			}
		}
		if len(k.bufs) < 3 {
			t.Fatalf("%d ioctls: the buffer did not grow", len(k.bufs))
		}
		for i, buf := range k.bufs {
			if !isZero(buf) {
				t.Errorf("%s: buffer %d was not wiped", line, i)
			}
		}
		if table.Targets[0].Params != "" {
			t.Errorf("%s: parameters %q were kept", line, table.Targets[0].Params)
		}
	}
}

// What is kept of a crypt line.
func TestCryptFields(t *testing.T) {
	c := replying(map[uint]reply{unix.DM_TABLE_STATUS: readReply(t, "table-crypt"), unix.DM_TABLE_DEPS: readReply(t, "table-none")})
	table, err := c.Table(devOther)
	if err != nil {
		t.Fatal(err)
	}
	want := &Crypt{
		Cipher: "aes-xts-plain64", KeyKind: "raw", KeyBytes: 32, IVOffset: 8, Dev: remap.Dev{Major: 8, Minor: 16}, Start: 4096,
		Options: []string{"allow_discards", "sector_size:4096"},
	}
	got := table.Targets[0].Crypt
	if got != nil {
		want.KeyDigest = got.KeyDigest
	}
	if !reflect.DeepEqual(got, want) || len(want.KeyDigest) != 2*digestBytes {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for word, want := range map[string]string{
		"-": "none 0", "0011": "raw 2", ":64:logon:x": "logon 64", ":32:user:a:b": "user 32",
		":16:trusted:k": "trusted 16", ":16:encrypted:k": "encrypted 16",
	} {
		kind, size, ok := cryptKey([]byte(word))
		if got := fmt.Sprint(kind, " ", size); !ok || got != want {
			t.Errorf("key %q is %s, %v, want %s", word, got, ok, want)
		}
	}
}

// Tables are stored as JSON, and what is read back maps the same.
func TestStoredTable(t *testing.T) {
	lines := []string{
		"0 8 linear 8:16 0", "8 16 striped 2 8 8:16 0 8:32 0", "24 8 zero", "32 8 thin 253:4 1", "40 8 crypt aes-xts-plain64 0011 0 8:16 0 1 allow_discards",
	}
	table, err := New(dmtest.New(active(devOther, lines...))).Table(devOther)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := json.Marshal(table)
	if err != nil {
		t.Fatal(err)
	}
	var back Table
	if err := json.Unmarshal(stored, &back); err != nil {
		t.Fatal(err)
	}
	if err := back.Check(); err != nil {
		t.Error(err)
	}
	back.Print = table.Print
	if !reflect.DeepEqual(&back, table) {
		t.Errorf("stored %+v\n read %+v", table, &back)
	}
	const want = `{"start":0,"length":8,"type":"linear","params":"8:16 0"}`
	if !strings.Contains(string(stored), want) || !strings.Contains(string(stored), `"deps":["8:16","8:32","253:4"]`) {
		t.Errorf("the stored form changed: %s", stored)
	}
}

func TestCheckStoredTable(t *testing.T) {
	for what, target := range map[string]Target{
		"negative start":         {Start: -1, Len: 8, Type: "zero"},
		"no length":              {Type: "zero"},
		"end out of range":       {Start: remap.MaxSectors, Len: 1, Type: "zero"},
		"no type":                {Len: 8},
		"type with a space":      {Len: 8, Type: "a b"},
		"long type":              {Len: 8, Type: "sixteenletters16"},
		"parameters with a key":  {Len: 8, Type: "crypt", Params: "aes-xts-plain64 0011 0 8:16 0"},
		"unknown parameters":     {Len: 8, Type: "inlinecrypt", Params: "x"},
		"crypt of another type":  {Len: 8, Type: "linear", Params: "8:16 0", Crypt: &Crypt{}},
		"crypt without a cipher": {Len: 8, Type: "crypt", Crypt: &Crypt{KeyKind: "none"}},
		"crypt with a type":      {Len: 8, Type: "crypt", Crypt: &Crypt{Cipher: "aes-xts-plain64", KeyKind: "wrapped"}},
		"a key of a keyring":     {Len: 8, Type: "inlinecrypt", Crypt: &Crypt{Cipher: "aes-xts-plain64", KeyKind: "logon"}},
		"crypt with a key":       {Len: 8, Type: "crypt", Crypt: &Crypt{Cipher: "aes-xts-plain64", KeyKind: "00112233"}},
		"crypt with an option":   {Len: 8, Type: "crypt", Crypt: &Crypt{Cipher: "aes-xts-plain64", KeyKind: "raw", Options: []string{"00112233"}}},
	} {
		table := Table{Targets: []Target{{Len: 8, Type: "zero"}, target}}
		if err := table.Check(); !errors.Is(err, ErrBadTable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
