package dmtable

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// readReply reads a dump in the form of hexdump -C without its last column;
// "*" repeats the line before up to the next offset.
func readReply(t testing.TB, name string) reply {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata/replies", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	var out, row []byte
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if words[0] == "#" || words[0] == "*" {
			continue
		}
		offset, err := strconv.ParseUint(words[0], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		for len(out) < int(offset) {
			out = append(out, row...)
		}
		if row, err = hex.DecodeString(strings.Join(words[1:], "")); err != nil {
			t.Fatal(err)
		}
		out = append(out, row...)
	}
	return out
}

// replying is a Control whose kernel gives one reply to each command.
func replying(replies map[uint]reply) *Control {
	c := &canned{replies: make(map[uint][]byte)}
	for command, r := range replies {
		c.replies[command] = r
	}
	return New(c)
}

var (
	devHome  = remap.Dev{Major: 253, Minor: 300}
	devOther = remap.Dev{Major: 253}
	uuidHome = "LVM-" + strings.Repeat("a", 32) + strings.Repeat("b", 32)
)

func TestTableReply(t *testing.T) {
	c := replying(map[uint]reply{unix.DM_TABLE_STATUS: readReply(t, "table"), unix.DM_TABLE_DEPS: readReply(t, "deps")})
	got, err := c.Table(devHome)
	if err != nil {
		t.Fatal(err)
	}
	want := &Table{
		Info: Info{Dev: devHome, Name: "vg-home", UUID: uuidHome, OpenCount: 2, ReadOnly: true, Active: true},
		Targets: []Target{
			{Start: 0, Len: 204800, Type: "linear", Params: "8:16 2048"},
			{Start: 204800, Len: 102400, Type: "linear", Params: "8:32 384"},
		},
		Deps:  []remap.Dev{{Major: 8, Minor: 16}, {Major: 259, Minor: 70000}},
		Print: got.Print,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Size() != 307200 || got.Transition() != "" {
		t.Errorf("size %d, transition %q", got.Size(), got.Transition())
	}
	if state, err := c.State(devHome); err != nil || state != (State{Print: got.Print}) {
		t.Errorf("state %v, %v; the table has print %x", state, err, got.Print)
	}
}

func TestTransitionReplies(t *testing.T) {
	for _, test := range []struct {
		reply, want string
		command     uint
		dev         remap.Dev
		targets     int
	}{
		{"table-suspended", "suspended", unix.DM_TABLE_STATUS, devOther, 1},
		{"table-none", "no table", unix.DM_TABLE_STATUS, devOther, 0},
		{"status", "suspended by the kernel", unix.DM_DEV_STATUS, devHome, 0},
	} {
		c := replying(map[uint]reply{test.command: readReply(t, test.reply), unix.DM_TABLE_DEPS: readReply(t, "table-none")})
		if test.command == unix.DM_DEV_STATUS {
			if info, err := c.Info(test.dev); err != nil || info.Transition() != test.want {
				t.Errorf("%s: %+v, %v", test.reply, info, err)
			}
			continue
		}
		table, err := c.Table(test.dev)
		if err != nil || table.Transition() != test.want || len(table.Targets) != test.targets {
			t.Errorf("%s: %+v, %v", test.reply, table, err)
		}
		if state, err := c.State(test.dev); err != nil || state.Transition != test.want {
			t.Errorf("%s: state %+v, %v", test.reply, state, err)
		}
	}
	staged := Info{Active: true, Staged: true}
	if got := staged.Transition(); got != "new table staged" {
		t.Errorf("staged: %q", got)
	}
}

func TestListReply(t *testing.T) {
	got, err := replying(map[uint]reply{unix.DM_LIST_DEVICES: readReply(t, "list")}).List()
	want := []Listed{{devOther, "vg-home", uuidHome}, {devHome, "x", ""}, {remap.Dev{Major: 253, Minor: 1}, "luks", "CRYPT-PLAIN-luks"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
	got, err = replying(map[uint]reply{unix.DM_LIST_DEVICES: readReply(t, "list-empty")}).List()
	if err != nil || len(got) != 0 {
		t.Errorf("an empty list is %v, %v", got, err)
	}
}

// Everything that the digest must and must not depend on.
func TestFingerprint(t *testing.T) {
	base := readReply(t, "table")
	changed := func(off uintptr, b byte) reply {
		r := append(reply(nil), base...)
		r[off] ^= b
		return r
	}
	print := fingerprint(base)
	for what, off := range map[string]uintptr{
		"read-only": offFlags, "device": offDev, "name": offName, "uuid": offUUID + 40, "targets": offTargetCount,
		"start": sizeofHeader + 40 + 16, "last letter": uintptr(len(base)) - 2, "type": sizeofHeader + offSpecType,
	} {
		if fingerprint(changed(off, 1)) == print {
			t.Errorf("a different %s has the same print", what)
		}
	}
	for what, r := range map[string]reply{
		"no table": changed(offFlags, unix.DM_ACTIVE_PRESENT_FLAG), "shorter": base[:len(base)-1],
	} {
		if fingerprint(r) == print {
			t.Errorf("%s has the same print", what)
		}
	}
	// A transition alone is told by Info.Transition: the table is still, or
	// again, the one that it was.
	for what, r := range map[string]reply{
		"suspend": changed(offFlags, unix.DM_SUSPEND_FLAG), "inactive": changed(offFlags, unix.DM_INACTIVE_PRESENT_FLAG),
		"internal suspend": changed(offFlags+2, unix.DM_INTERNAL_SUSPEND_FLAG>>16),
	} {
		info, err := r.info()
		if fingerprint(r) != print || err != nil || info.Transition() == "" {
			t.Errorf("%s has another print, or no transition: %+v, %v", what, info, err)
		}
	}
	for what, r := range map[string]reply{"open count": changed(offOpenCount, 1), "event number": changed(32, 1), "version": changed(4, 1)} {
		if fingerprint(r) != print {
			t.Errorf("another %s has another print", what)
		}
	}
}

// A reply that lies about itself is an error, and no lie reads outside of it.
func TestLyingReplies(t *testing.T) {
	put := func(name string, off uintptr, v uint32) reply {
		r := readReply(t, name)
		binary.NativeEndian.PutUint32(r[off:], v)
		return r
	}
	spec := sizeofHeader
	for what, r := range map[string]reply{
		"count too high":       put("table", offTargetCount, 3),
		"count far too high":   put("table", offTargetCount, 1<<32-1),
		"data before header":   put("table", offDataStart, 16),
		"data behind the end":  put("table", offDataStart, 1<<31),
		"size behind the end":  put("table", offDataSize, 1<<20),
		"size before the data": put("table", offDataSize, 100),
		"next is 0":            put("table", spec+offSpecNext, 0),
		"next is not aligned":  put("table", spec+offSpecNext, 57),
		"next behind the end":  put("table", spec+offSpecNext, 1<<31),
		"next into the record": put("table", spec+offSpecNext, 40),
		"endless parameters":   put("table", spec+40+8, 0x41414141)[:spec+40+12],
		"endless type":         append(append(readReply(t, "table")[:spec+24], "linearlinearlinear"...), make([]byte, 30)...),
		"no type":              put("table", spec+offSpecType, 0),
		"start out of range":   put("table", spec+offSpecStart+4, 1<<31),
		"length out of range":  put("table", spec+offSpecLength+4, 1<<31),
		"another device":       put("table", offDev, 0),
		"no name":              put("table", offName, 0),
	} {
		if int(r.u32(offDataSize)) > len(r) && what != "size behind the end" {
			binary.NativeEndian.PutUint32(r[offDataSize:], uint32(len(r)))
		}
		c := replying(map[uint]reply{unix.DM_TABLE_STATUS: r, unix.DM_TABLE_DEPS: readReply(t, "deps")})
		if table, err := c.Table(devHome); !errors.Is(err, ErrReply) {
			t.Errorf("%s: %+v, %v", what, table, err)
		}
		if !isZero(c.buf) {
			t.Errorf("%s: the reply was not wiped", what)
		}
	}
	for what, r := range map[string]reply{
		"count too high": put("deps", sizeofHeader, 3), "count far too high": put("deps", sizeofHeader, 1<<32-1),
		"short": put("deps", offDataSize, 316),
	} {
		c := replying(map[uint]reply{unix.DM_TABLE_STATUS: readReply(t, "table"), unix.DM_TABLE_DEPS: r})
		if table, err := c.Table(devHome); !errors.Is(err, ErrReply) {
			t.Errorf("dependencies, %s: %+v, %v", what, table, err)
		}
	}
	for what, r := range map[string]reply{
		"next too far": put("list", sizeofHeader+offListNext, 1<<31), "next not aligned": put("list", sizeofHeader+offListNext, 33),
		"no name": put("list", sizeofHeader+offListName, 0),
	} {
		if list, err := replying(map[uint]reply{unix.DM_LIST_DEVICES: r}).List(); !errors.Is(err, ErrReply) {
			t.Errorf("list, %s: %+v, %v", what, list, err)
		}
	}
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// Whatever the kernel's reply says, reading it ends in a result or an error,
// and a result passes the check for stored tables.
func FuzzReply(f *testing.F) {
	files, err := filepath.Glob("testdata/replies/*.hex")
	if err != nil || len(files) == 0 {
		f.Fatal("no replies", err)
	}
	for _, file := range files {
		f.Add([]byte(readReply(f, strings.TrimSuffix(filepath.Base(file), ".hex"))))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < int(sizeofHeader) {
			return
		}
		r := reply(b)
		var table Table
		if table.parse(r) == nil && len(table.Targets) > len(b)/int(sizeofSpec) {
			t.Errorf("%d targets in %d bytes", len(table.Targets), len(b))
		}
		l := table.Layer()
		// Not to the end: a striped line may have very many chunks.
		for s, i := remap.Sector(0), 0; s < table.Size() && i < 1000; i++ {
			p := l.Map(remap.Read, s, table.Size()-s)
			if p.Len < 1 || p.Len > table.Size()-s {
				t.Fatalf("Map at %d is %d sectors long", s, p.Len)
			}
			s += p.Len
		}
		if devs, err := r.deps(); err == nil && len(devs) > len(b)/8 {
			t.Errorf("%d dependencies in %d bytes", len(devs), len(b))
		}
		if list, err := r.list(); err == nil && len(list) > len(b)/offListName {
			t.Errorf("%d devices in %d bytes", len(list), len(b))
		}
		fingerprint(r)
	})
}
