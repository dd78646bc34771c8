package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	devmapper "github.com/anatol/devmapper.go"

	"github.com/dmcopy/dmcopy/dmtable"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/vm"
)

// Every target that is mapped, as dmsetup prints it and as the kernel reads it.
func TestTargets(t *testing.T) {
	seeds := stamp(t, diskA, diskB)
	a, b := number(t, diskA), number(t, diskB)
	for name, lines := range map[string][]string{
		"linear":  {fmt.Sprintf("0 1000 linear %s 2048", a), fmt.Sprintf("1000 3000 linear %s 17", b), fmt.Sprintf("4000 8 linear %s 0", a)},
		"striped": {fmt.Sprintf("0 6144 striped 3 128 %s 0 %s 1000 %s 40960", a, b, a)},
		"oddly":   {"0 64 zero", fmt.Sprintf("64 1440 striped 3 24 %s 0 %s 1000 %s 40960", a, b, a)},
		"delay":   {fmt.Sprintf("0 100 delay %s 5 0 %s 7 0", a, b)},
		"mixed":   {fmt.Sprintf("0 8 linear %s 2048", a), "8 8 zero", "16 8 error", fmt.Sprintf("24 256 striped 2 16 %s 8 %s 16", a, b)},
	} {
		t.Run(name, func(t *testing.T) {
			dev := create(t, "t-"+name, lines...)
			table, err := control(t).Table(dev)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, target := range table.Targets {
				got = append(got, lineOf(target))
			}
			printed := strings.Split(strings.TrimSpace(vm.Run(t, "dmsetup", "table", "t-"+name)), "\n")
			for i := range printed {
				printed[i] = strings.TrimSpace(printed[i])
			}
			if !slices.Equal(got, printed) {
				t.Errorf("got %q, dmsetup prints %q", got, printed)
			}
			if table.Name != "t-"+name || !table.Active || table.Transition() != "" {
				t.Errorf("%+v", table.Info)
			}
			_, st, _ := read(t, dev)
			found := checkResolved(t, st, dev, seeds)
			if found[remap.Data] == 0 || found[remap.Opaque] != 0 {
				t.Errorf("sectors by kind: %v", found)
			}
		})
	}
}

// unstriped is the inverse of striped, on a stack of three levels.
func TestUnstripedOnStriped(t *testing.T) {
	seeds := stamp(t, diskA, diskB)
	striped := create(t, "u-striped", fmt.Sprintf("0 4096 striped 2 64 %s 2048 %s 8", number(t, diskA), number(t, diskB)))
	inverse := create(t, "u-inverse", fmt.Sprintf("0 2048 unstriped 2 64 1 %s 0", striped))
	top := create(t, "u-top", fmt.Sprintf("0 1000 linear %s 100", inverse))
	_, st, _ := read(t, top)
	if found := checkResolved(t, st, top, seeds); found[remap.Data] != 1000 {
		t.Errorf("sectors by kind: %v", found)
	}
	for e, err := range st.Resolve(remap.Read, remap.Range{Dev: top, Len: 1000}) {
		if err != nil || e.Len != 1000 || e.Leg.Dev != number(t, diskB) || e.Leg.Start != 108 {
			t.Errorf("the second stripe is one run of the second disk, not %+v, %v", e, err)
		}
	}
}

// Random tables of many lines on several levels.
func TestRandomStacks(t *testing.T) {
	seeds := stamp(t, diskA, diskB)
	const seed = 1
	rnd := rand.New(rand.NewPCG(seed, seed))
	below := []remap.Dev{number(t, diskA), number(t, diskB)}
	room := []int64{20000, 20000}
	for level := range 4 {
		var lines []string
		end := int64(0)
		for end < 10000 {
			i := rnd.IntN(len(below))
			switch n := rnd.Int64N(300) + 1; rnd.IntN(4) {
			case 0:
				chunk, rows := rnd.Int64N(5)*8+8, rnd.Int64N(5)+1
				j := rnd.IntN(len(below))
				lines = append(lines, fmt.Sprintf("%d %d striped 2 %d %s %d %s %d", end, 2*chunk*rows, chunk,
					below[i], rnd.Int64N(room[i]-chunk*rows), below[j], rnd.Int64N(room[j]-chunk*rows)))
				end += 2 * chunk * rows
			case 1:
				if level < 3 { // zeroes below striped lines are checked one level down
					lines = append(lines, fmt.Sprintf("%d %d zero", end, n))
					end += n
					continue
				}
				fallthrough
			default:
				lines = append(lines, fmt.Sprintf("%d %d linear %s %d", end, n, below[i], rnd.Int64N(room[i]-n)))
				end += n
			}
		}
		dev := create(t, fmt.Sprintf("r-%d", level), lines...)
		_, st, _ := read(t, dev)
		found := checkResolved(t, st, dev, seeds)
		if found[remap.Data]+found[remap.Zero] != st.Node(dev).Size {
			t.Errorf("level %d: sectors by kind: %v of %d", level, found, st.Node(dev).Size)
		}
		below, room = append(below, dev), append(room, end)
	}
}

// The inventory agrees with dmsetup and with devmapper.go.
func TestInventory(t *testing.T) {
	a := number(t, diskA)
	devs := map[string]remap.Dev{
		"i-one":      create(t, "i-one", fmt.Sprintf("0 8 linear %s 0", a)),
		`i-\x20two`:  create(t, "i-\\x20two", "0 8 zero"),
		"i--th-ree-": create(t, "i--th-ree-", fmt.Sprintf("0 8 linear %s 0", a)),
	}
	c := control(t)
	list, err := c.List()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := devmapper.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(theirs) {
		t.Errorf("%d devices, devmapper.go lists %d", len(list), len(theirs))
	}
	for name, dev := range devs {
		if !slices.Contains(list, dmtable.Listed{Dev: dev, Name: name}) {
			t.Errorf("%s (%s) is not in %v", name, dev, list)
		}
		info, err := c.Info(dev)
		if err != nil || info.Name != name || !info.Active {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	if _, err := c.Table(remap.Dev{Major: devs["i-one"].Major, Minor: 999}); !errors.Is(err, dmtable.ErrNoDevice) {
		t.Error(err)
	}
	if _, err := c.Table(a); !errors.Is(err, dmtable.ErrNoDevice) {
		t.Errorf("a disk has a table: %v", err)
	}
}

// A table of 100 000 lines, made by devmapper.go.
func TestManyLines(t *testing.T) {
	seeds := stamp(t, diskA)
	const lines = 100_000
	path := vm.Device(t, diskA)
	room := uint64(diskA.Size)/devmapper.SectorSize - 1
	var tables []devmapper.Table
	for i := range uint64(lines) {
		tables = append(tables, devmapper.LinearTable{
			Start: i * devmapper.SectorSize, Length: devmapper.SectorSize, BackendDevice: path,
			BackendOffset: i * 7919 % room * devmapper.SectorSize,
		})
	}
	if err := devmapper.CreateAndLoad("many", "", 0, tables...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := vm.TryRun("dmsetup", "remove", "--retry", "many"); err != nil {
			t.Error(err)
		}
	})
	vm.Settle(t)
	dev := lookup(t, "many")
	begin := time.Now()
	_, st, r := read(t, dev)
	t.Logf("read in %v", time.Since(begin))
	extents := 0
	for e, err := range st.Resolve(remap.Read, remap.Range{Dev: dev, Len: lines}) {
		if err != nil || e.Len != 1 || uint64(e.Leg.Start) != uint64(e.Start)*7919%room {
			t.Fatalf("extent %+v, %v", e, err)
		}
		extents++
	}
	if extents != lines {
		t.Errorf("%d extents", extents)
	}
	for e := range st.Resolve(remap.Read, remap.Range{Dev: dev, Start: lines - 20, Len: 20}) {
		vm.CheckStamp(t, st.Node(dev).Path, seeds[e.Leg.Dev], e.Start.Bytes(), e.Leg.Start.Bytes(), e.Len.Bytes())
	}
	begin = time.Now()
	if changes, err := r.Changes(context.Background(), st); err != nil || len(changes) != 0 {
		t.Errorf("%v, %v", changes, err)
	}
	t.Logf("compared in %v", time.Since(begin))
}

// What a swap looks like at each of its steps, and that an equal table is no
// change.
func TestTransitions(t *testing.T) {
	a := number(t, diskA)
	dev := create(t, "moving", fmt.Sprintf("0 64 linear %s 0", a))
	_, st, r := read(t, dev)
	expect := func(step, want string) {
		t.Helper()
		changes, err := r.Changes(context.Background(), st)
		got := ""
		for _, c := range changes {
			got += c.What
		}
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %q", step, changes, err, want)
		}
	}
	load := func(line string) { t.Helper(); vm.Run(t, "dmsetup", "load", "moving", "--table", line) }

	expect("at rest", "")
	vm.Run(t, "dmsetup", "suspend", "moving")
	expect("suspended", "suspended")
	vm.Run(t, "dmsetup", "resume", "moving")
	expect("resumed", "")
	load(fmt.Sprintf("0 64 linear %s 8", a))
	expect("staged", "new table staged")
	s, staged, _ := read(t, dev)
	if staged.Node(dev).Transition != "new table staged" || len(s.Nodes) != 2 {
		t.Errorf("%+v", s)
	}
	vm.Run(t, "dmsetup", "clear", "moving")
	expect("cleared", "")
	load(fmt.Sprintf("0 64 linear %s 0", a))
	vm.Run(t, "dmsetup", "resume", "moving")
	expect("equal table", "")
	load(fmt.Sprintf("0 64 linear %s 8", a))
	vm.Run(t, "dmsetup", "resume", "moving")
	expect("another table", "layout changed")
	load(fmt.Sprintf("0 64 linear %s 0", a))
	vm.Run(t, "dmsetup", "resume", "moving")
	expect("the first table again", "")

	// A staged table on another disk makes that a slave already.
	load(fmt.Sprintf("0 64 linear %s 0", number(t, diskB)))
	if s, _, _ := read(t, dev); len(s.Nodes) != 2 {
		t.Errorf("%d devices", len(s.Nodes))
	}
	expect("staged on another disk", "new table staged")
}

// Swapping while reading gives one of the two layouts, or says that it could not.
func TestReadWhileSwapping(t *testing.T) {
	a, b := number(t, diskA), number(t, diskB)
	tables := []string{fmt.Sprintf("0 64 linear %s 0", a), fmt.Sprintf("0 64 linear %s 64", b)}
	dev := create(t, "swapping", tables[0])
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if _, err := vm.TryRun("dmsetup", "reload", "swapping", "--table", tables[i%2]); err != nil {
				done <- err
				return
			}
			if _, err := vm.TryRun("dmsetup", "resume", "swapping"); err != nil {
				done <- err
				return
			}
		}
	}()
	r := layout.NewReader(layout.Options{})
	defer r.Close()
	var layouts, races int
	for range 100 {
		s, err := r.Read(context.Background(), dev)
		if errors.Is(err, layout.ErrRace) {
			races++
			continue
		}
		if err != nil {
			t.Error(err)
			break
		}
		st, err := s.Stack()
		if err != nil {
			t.Error(err)
			break
		}
		for e, err := range st.Resolve(remap.Read, remap.Range{Dev: dev, Len: 64}) {
			if err != nil || e.Len != 64 || e.Leg != (remap.Leg{Dev: a, Readable: true}) && e.Leg != (remap.Leg{Dev: b, Start: 64, Readable: true}) {
				t.Errorf("%+v, %v", e, err)
			}
		}
		layouts++
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if layouts == 0 {
		t.Error("no layout was ever read")
	}
	t.Logf("%d layouts, %d races", layouts, races)
}

// The kernel prints the key, and we do not keep it.
func TestCryptKey(t *testing.T) {
	const key = "d0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeef"
	dev := create(t, "secret", fmt.Sprintf("0 2048 crypt aes-xts-plain64 %s 8 %s 4096 2 allow_discards sector_size:4096", key, number(t, diskA)))
	if shown := vm.Run(t, "dmsetup", "table", "--showkeys", "secret"); !strings.Contains(shown, key) {
		t.Fatalf("dmsetup shows no key, so this test proves nothing: %s", shown)
	}
	s, st, r := read(t, dev)
	var stored bytes.Buffer
	if err := s.Write(&stored); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{stored.String(), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s.Nodes[0].DM), fmt.Sprintf("%+v", st.Node(dev))} {
		if strings.Contains(strings.ToLower(text), key[:8]) {
			t.Fatalf("the key is in %s", text)
		}
	}
	var crypt *dmtable.Crypt
	for _, n := range s.Nodes {
		if n.Dev == dev {
			crypt = n.DM.Targets[0].Crypt
		}
	}
	if crypt == nil || len(crypt.KeyDigest) != 32 {
		t.Fatalf("no digest of the key in %+v", crypt)
	}
	crypt.KeyDigest = "" // another one in each process
	got, err := json.Marshal(crypt)
	want := fmt.Sprintf(`{"cipher":"aes-xts-plain64","key_kind":"raw","key_bytes":32,"iv_offset":8,"dev":"%s","start":4096,"options":["allow_discards","sector_size:4096"]}`, number(t, diskA))
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	for e, err := range st.Resolve(remap.Read, remap.Range{Dev: dev, Len: 2048}) {
		if err != nil || e.Kind != remap.Cipher || e.Cipher == nil || e.Cipher.ID == "" || e.Cipher.Block != 8 || e.IV != 8 || e.Leg.Start != 4096 || e.Len != 2048 {
			t.Errorf("%+v, %v", e, err)
		}
	}
	// Another key is another layout.
	vm.Run(t, "dmsetup", "load", "secret", "--table", fmt.Sprintf("0 2048 crypt aes-xts-plain64 00%s 8 %s 4096 2 allow_discards sector_size:4096", key[2:], number(t, diskA)))
	vm.Run(t, "dmsetup", "resume", "secret")
	if changes, err := r.Changes(context.Background(), st); err != nil || len(changes) != 1 || changes[0].What != "layout changed" {
		t.Errorf("%v, %v", changes, err)
	}
}

// A LUKS device keeps its key in the keyring.
func TestLUKS(t *testing.T) {
	path := vm.Device(t, diskVirt)
	vm.Run(t, "sh", "-c", "echo -n secret | cryptsetup luksFormat --type luks2 --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "+path+" -")
	vm.Run(t, "sh", "-c", "echo -n secret | cryptsetup open "+path+" luks --key-file -")
	t.Cleanup(func() { vm.Run(t, "cryptsetup", "close", "luks") })
	vm.Settle(t)
	table, err := control(t).Table(lookup(t, "/dev/mapper/luks"))
	if err != nil {
		t.Fatal(err)
	}
	if c := table.Targets[0].Crypt; c == nil || c.KeyKind != "logon" || c.KeyBytes != 64 || c.Start == 0 || table.Owner().Manager != "crypt" {
		t.Errorf("%+v, %+v", table, c)
	}
}
