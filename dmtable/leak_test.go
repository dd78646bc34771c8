package dmtable

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/dmtable/dmtest"
	"github.com/dmcopy/dmcopy/remap"
)

// veiledKey makes the digits of a random key of n bytes, none of which is ever
// written down as it is.
func veiledKey(n int) []byte {
	digits := make([]byte, 2*n)
	rand.Read(digits)
	for i, b := range digits {
		digits[i] = "0123456789abcdef"[b&15] ^ dmtest.Veil
	}
	return digits
}

// secretDevice has a table of crypt and inlinecrypt lines with one key.
func secretDevice(secret []byte) dmtest.Device {
	hidden := dmtest.Hidden(len(secret))
	d := active(devOther,
		"0 8 crypt aes-xts-plain64 "+hidden+" 0 8:16 4096",
		"8 8 inlinecrypt aes-xts-plain64 "+hidden+" 1 0 8:16 4096",
		"16 8 crypt aes-xts-plain64 "+hidden+" 0 8:16 4096 1 unknown")
	d.Secret = secret
	return d
}

// needles are the parts of a key that are searched for: each eighth byte of it
// and the seven behind it, written in hex and as they are. They are veiled.
func needles(secret []byte) [][]byte {
	const part = 8
	var found [][]byte
	for from := 0; from+2*part <= len(secret); from += 2 * part {
		lower := secret[from : from+2*part]
		upper, raw := make([]byte, 2*part), make([]byte, part)
		for i, digit := range lower {
			upper[i] = bytes.ToUpper([]byte{digit ^ dmtest.Veil})[0] ^ dmtest.Veil
			raw[i/2] |= nibble(digit^dmtest.Veil) << (4 - i%2*4)
		}
		for i := range raw {
			raw[i] ^= dmtest.Veil
		}
		found = append(found, lower, upper, raw)
	}
	return found
}

func nibble(digit byte) byte {
	if isDigit(digit) {
		return digit - '0'
	}
	return digit - 'a' + 10
}

// holds tells whether a needle is in the text.
func holds(text []byte, veiled [][]byte) bool {
	var byFirst [256][][]byte
	for _, needle := range veiled {
		first := needle[0] ^ dmtest.Veil
		byFirst[first] = append(byFirst[first], needle)
	}
	for at, b := range text {
		for _, needle := range byFirst[b] {
			if startsWith(text[at:], needle) {
				return true
			}
		}
	}
	return false
}

func startsWith(text, veiled []byte) bool {
	if len(text) < len(veiled) {
		return false
	}
	for i, b := range veiled {
		if text[i] != b^dmtest.Veil {
			return false
		}
	}
	return true
}

// inMemory looks for a needle in all of the memory of this process.
func inMemory(t *testing.T, veiled [][]byte) bool {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer mem.Close()
	buf, scanned := make([]byte, 1<<20), 0
	defer clear(buf) // of what was found
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if mode[0] != 'r' || strings.Contains(line, "[v") { // not of the process: vvar, vsyscall
			continue
		}
		for at := from; at < to; at += uint64(len(buf)) - 16 { // needles have 16 bytes at most
			n, err := mem.ReadAt(buf[:min(uint64(len(buf)), to-at)], int64(at))
			if err != nil && n == 0 {
				break // unmapped since
			}
			scanned += n
			if holds(buf[:n], veiled) {
				return true
			}
		}
	}
	if scanned < len(buf) {
		t.Fatalf("%d bytes of memory could be read", scanned)
	}
	return false
}

// child runs the test of that name in a process of its own, which knows by the
// environment what to do there.
func child(t *testing.T, task string) (output []byte, err error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	// Signals would save registers of whoever works on the key.
	cmd.Env = append(os.Environ(), "GOTRACEBACK=all", "GODEBUG=asyncpreemptoff=1", "DMTABLE_TEST_CHILD="+task)
	return cmd.CombinedOutput()
}

// What a core file would hold: once a table has been read, no part of its key is
// anywhere in the memory of the process.
func TestNoKeyInMemory(t *testing.T) {
	if os.Getenv("DMTABLE_TEST_CHILD") == "" {
		if out, err := child(t, "scan"); err != nil || !bytes.Contains(out, []byte("--- PASS: TestNoKeyInMemory")) {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	secret := veiledKey(64)
	c := New(dmtest.New(secretDevice(secret)))
	table, err := c.Table(devOther)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.State(devOther); err != nil {
		t.Fatal(err)
	}
	if table.Targets[0].Crypt.KeyDigest == "" || table.Targets[1].Crypt.KeyDigest != table.Targets[0].Crypt.KeyDigest {
		t.Fatalf("the key was not read: %+v", table.Targets)
	}
	runtime.GC()
	if inMemory(t, needles(secret)) {
		t.Error("a part of the key is still in memory")
	}
	runtime.KeepAlive(table)
	runtime.KeepAlive(c)

	// What is there is found.
	other := veiledKey(64)
	plain := bytes.Clone(other)
	for i := range plain {
		plain[i] ^= dmtest.Veil
	}
	raw := make([]byte, 64)
	if _, err := hex.Decode(raw, plain); err != nil {
		t.Fatal(err)
	}
	if !inMemory(t, needles(other)) {
		t.Error("a key in hex was not found in memory")
	}
	clear(plain[:100]) // leaves 14 bytes, one of the needles among them
	clear(raw[:50])
	if !inMemory(t, needles(other)) {
		t.Error("the end of a key was not found in memory")
	}
	clear(plain)
	if !inMemory(t, needles(other)) {
		t.Error("the end of a raw key was not found in memory")
	}
	runtime.KeepAlive(plain)
	runtime.KeepAlive(raw)
}

// panicking is a kernel that ends the process while the reply is being read.
type panicking struct{ Kernel }

func (k panicking) Ioctl(command uint, buf []byte) error {
	if err := k.Kernel.Ioctl(command, buf); err != nil {
		return err
	}
	panic("the reply is in the buffer")
}

// No key is in what a crash prints, with the stacks of all goroutines.
func TestNoKeyInCrash(t *testing.T) {
	secret := bytes.Repeat([]byte{'d' ^ dmtest.Veil, '7' ^ dmtest.Veil, 'e' ^ dmtest.Veil, '1' ^ dmtest.Veil}, 32)
	k := dmtest.New(secretDevice(secret))
	switch os.Getenv("DMTABLE_TEST_CHILD") {
	case "after":
		table, err := New(k).Table(devOther)
		panic(fmt.Sprintf("%+v %#v %+v %v", table, table, table.Targets[0].Crypt, err))
	case "while":
		table, err := New(panicking{k}).Table(devOther)
		t.Fatal(table, err)
	}
	for _, task := range []string{"after", "while"} {
		out, err := child(t, task)
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !bytes.Contains(out, []byte("goroutine ")) || !bytes.Contains(out, []byte("panic: ")) {
			t.Fatalf("%s: no crash: %v\n%s", task, err, out)
		}
		if holds(out, needles(secret)) {
			t.Errorf("%s: the key is in\n%s", task, out)
		}
	}
	if !holds([]byte("x d7e1d7e1d7e1d7e1"), needles(secret)) || !holds([]byte("\xd7\xe1\xd7\xe1\xd7\xe1\xd7\xe1"), needles(secret)) {
		t.Error("the key would not have been found")
	}
}

// mangling is a kernel whose replies are changed before they are read.
type mangling struct {
	Kernel
	mangle func(command uint, buf []byte) error
}

func (k mangling) Ioctl(command uint, buf []byte) error {
	if err := k.Kernel.Ioctl(command, buf); err != nil {
		return err
	}
	return k.mangle(command, buf)
}

// Whatever goes wrong, the buffers are wiped and the error has no key.
func TestWipedOnErrors(t *testing.T) {
	secret := veiledKey(64)
	for what, mangle := range map[string]func(command uint, buf []byte) error{
		"errno":        func(uint, []byte) error { return unix.EIO },
		"gone":         func(uint, []byte) error { return unix.ENXIO },
		"other device": func(_ uint, buf []byte) error { buf[offDev]++; return nil },
		"data size":    func(_ uint, buf []byte) error { putU32(buf, offDataSize, 1<<30); return nil },
		"data start":   func(_ uint, buf []byte) error { putU32(buf, offDataStart, 1<<20); return nil },
		"no name":      func(_ uint, buf []byte) error { clear(buf[offName:offUUID]); return nil },
		"next":         func(_ uint, buf []byte) error { putU32(buf, sizeofHeader+offSpecNext, 7); return nil },
		"type":         func(_ uint, buf []byte) error { copy(buf[sizeofHeader+offSpecType:], "a key?"); return nil },
		"start":        func(_ uint, buf []byte) error { putU32(buf, sizeofHeader+offSpecStart+4, 1<<31); return nil },
		"never fits":   func(_ uint, buf []byte) error { putU32(buf, offFlags, unix.DM_BUFFER_FULL_FLAG); return nil },
		"dependencies": func(command uint, buf []byte) error {
			if command == unix.DM_TABLE_DEPS {
				return unix.EIO
			}
			return nil
		},
	} {
		k := &recorder{Kernel: mangling{dmtest.New(secretDevice(secret)), mangle}}
		c := New(k)
		c.limit = 4 * firstBuffer
		table, err := c.Table(devOther)
		if err == nil || table != nil {
			t.Errorf("%s: %v, %v", what, table, err)
			continue
		}
		if holds(fmt.Appendf(nil, "%v %+v %#v", err, err, err), needles(secret)) {
			t.Errorf("%s: the key is in the error", what)
		}
		if len(k.bufs) == 0 {
			t.Errorf("%s: nothing was asked", what)
		}
		for i, buf := range k.bufs {
			if !isZero(buf) {
				t.Errorf("%s: buffer %d was not wiped", what, i)
			}
		}
	}
}

func putU32(buf []byte, at uintptr, n uint32) { binary.NativeEndian.PutUint32(buf[at:], n) }

// The digest keeps nothing of what it read, however long that was.
func TestDigesterForgets(t *testing.T) {
	for n := range 130 {
		d := newDigester(make([]byte, 32))
		d.Write(bytes.Repeat([]byte{0xa5}, n))
		sum := d.sum()
		if text := fmt.Sprintf("%+v", d.mac); strings.Contains(text, "165 165 165 165") {
			t.Errorf("%d bytes: the digest holds %s", n, text)
		}
		again := newDigester(make([]byte, 32))
		for range n {
			again.Write([]byte{0xa5})
		}
		if again.sum() != sum {
			t.Errorf("%d bytes: the sum depends on how they were written", n)
		}
		longer := newDigester(make([]byte, 32))
		longer.Write(append(bytes.Repeat([]byte{0xa5}, n), 0))
		if longer.sum() == sum {
			t.Errorf("%d bytes: a zero more is not seen", n)
		}
	}
}

// FuzzSecrets: the key of a line, wherever it stands, is in nothing that is made
// of the line.
func FuzzSecrets(f *testing.F) {
	key := bytes.Repeat([]byte{0xd7, 0xe1, 0x35}, 11)[:32]
	for _, seed := range [][2]string{
		{"crypt", "aes-xts-plain64 {key} 0 8:16 4096 1 allow_discards"},
		{"crypt", "aes-cbc-essiv:sha256 {key} 0 8:16 4096 1 unknown"},
		{"crypt", "aes-xts-plain64 :64:logon:k 0 8:16 {key}"},
		{"crypt", "{key} {key} {key} {key} {key} {key} {key}"},
		{"inlinecrypt", "aes-xts-plain64 {key} 1 0 8:16 4096 2 sector_size:4096 iv_large_sectors"},
		{"inlinecrypt", "aes-xts-plain64 {key} 0 8:16 4096"},
		{"inlinecrypt", "aes-xts-plain64 {key} 2 {key} 8:16 4096"},
		{"default-key", "aes-xts-plain64 {key} 0 8:16 0"},
		{"integrity", "8:16 0 32 J 1 internal_hash:hmac(sha256):{key}"},
		{"integrity", "8:16 0 32 J 2 internal_hash:crc32c journal_mac:hmac(sha256):{key}"},
		{"frobnicate", "{key} 8:16 0"},
	} {
		f.Add(seed[0], seed[1], key, int64(80))
	}
	f.Fuzz(func(t *testing.T, typ, template string, key []byte, length int64) {
		if length < 1 || remap.Sector(length) > remap.MaxSectors || !validType(typ) || keepsParams(typ) || len(key) < 8 ||
			strings.Contains(template, "\x00") || !ownWords(template) {
			return
		}
		key[0] |= 0xf0 // no number
		lower := hex.EncodeToString(key)
		for _, digits := range []string{lower, strings.ToUpper(lower)} {
			params := strings.ReplaceAll(template, "{key}", digits)
			for _, place := range remains(t, typ, params, length) {
				if strings.Contains(strings.ToLower(place), lower) || strings.Contains(place, string(key)) {
					t.Fatalf("%s %s: the key is in %s", typ, params, place)
				}
			}
		}
	})
}

// ownWords tells whether each key in the template is a word of its own, or the
// end of one behind a colon, as options have them.
func ownWords(template string) bool {
	for word := range strings.SplitSeq(template, " ") {
		if before, key, found := strings.Cut(word, "{key}"); found && (key != "" || before != "" && !strings.HasSuffix(before, ":")) {
			return false
		}
	}
	return true
}

// remains is everything that can be printed or stored of a line.
func remains(t *testing.T, typ, params string, length int64) []string {
	t.Helper()
	var k keeper
	target, err := k.keep(line{length: uint64(length), typ: []byte(typ), params: []byte(params)})
	table := &Table{Targets: []Target{target}}
	stored, marshalErr := json.Marshal(table)
	if marshalErr != nil {
		t.Fatal(marshalErr)
	}
	p := table.Layer().Map(remap.Read, 0, 1)
	return []string{
		string(stored), fmt.Sprint(err), fmt.Sprintf("%+v %#v", target, target), fmt.Sprintf("%+v %#v", target.Crypt, target.Crypt),
		fmt.Sprintf("%+v", p), fmt.Sprintf("%+v", p.Cipher), strings.Join(table.Notes(), "\n"), fmt.Sprint(table.Check()),
	}
}
