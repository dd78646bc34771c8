package dispatch_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/byterange"
	"github.com/dmcopy/dmcopy/internal/journal"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
	"github.com/dmcopy/dmcopy/test/target"
)

// tells finds any 6 bytes in a row of a secret, printed in any usual way.
func tells(text []byte, secret []byte) (how string, found bool) {
	const row = 6
	printed := map[string]func(b []byte) string{
		"as it is":  func(b []byte) string { return string(b) },
		"hex":       hex.EncodeToString,
		"HEX":       func(b []byte) string { return fmt.Sprintf("%X", b) },
		"hex bytes": func(b []byte) string { return fmt.Sprintf("% x", b) },
		"numbers":   func(b []byte) string { return strings.Trim(fmt.Sprint(b), "[]") },
		"Go": func(b []byte) string {
			return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", b), "[]byte{"), "}")
		},
		"JSON":      func(b []byte) string { return strings.ReplaceAll(strings.Trim(fmt.Sprint(b), "[]"), " ", ",") },
		"base64":    base64.RawStdEncoding.EncodeToString,
		"base64url": base64.RawURLEncoding.EncodeToString,
	}
	for at := 0; at+row <= len(secret); at++ {
		for how, print := range printed {
			if bytes.Contains(text, []byte(print(secret[at:at+row]))) {
				return how, true
			}
		}
	}
	return "", false
}

// TestTells: the search finds what it is to find.
func TestTells(t *testing.T) {
	secret := make([]byte, 64)
	for i := range secret {
		secret[i] = byte(37*i + 11)
	}
	encoded, err := json.Marshal(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprint(secret), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret[20:]), fmt.Sprintf("% x", secret), fmt.Sprintf("%#v", secret),
		string(secret[30:40]), string(encoded), base64.URLEncoding.EncodeToString(secret), fmt.Sprint(struct{ b []byte }{secret}),
	} {
		if _, found := tells([]byte("before "+text+" behind"), secret); !found {
			t.Errorf("not found in %s", text)
		}
	}
	if how, found := tells([]byte("nothing"), secret); found {
		t.Error(how)
	}
}

// TestTokensStayInside: whatever happens to a copy by tokens, nothing of a token is in
// the log at the lowest level, the report, the error or the state file.
func TestTokensStayInside(t *testing.T) {
	const populate, write, receive = "populate-token", "write-using-token", "receive-token"
	sense := func(key scsi.SenseKey, asc, ascq uint8) scsi.SenseCode {
		return scsi.SenseCode{Key: key, ASC: asc, ASCQ: ascq}
	}
	for name, fault := range map[string]target.Fault{
		"none":           {},
		"expired":        {Command: write, Expire: true, Skip: 1, Times: 1},
		"always expired": {Command: write, Expire: true, Skip: 1},
		"refused":        {Command: write, Sense: sense(scsi.IllegalRequest, 0x23, 0x04), Skip: 1},
		"unknown":        {Command: populate, Sense: sense(scsi.IllegalRequest, 0x20, 0), Skip: 1},
		"short":          {Command: write, Short: 3, Skip: 1},
		"lies":           {Command: write, Lie: math.MaxUint32, Skip: 1},
		"residual":       {Command: receive, Residual: 500, Skip: 2},
		"no answer":      {Command: receive, Status: scsi.Busy, Skip: 2},
		"lost":           {Command: write, Lose: true, Skip: 1, Times: 1},
		"corrupt":        {Command: write, Corrupt: true},
		"reserved":       {Command: write, Status: scsi.ReservationConflict, Skip: 1},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			synctest.Test(t, func(t *testing.T) { copyByTokens(t, path, fault) })
		})
	}
}

func copyByTokens(t *testing.T, path string, fault target.Fault) {
	m := fakestack.New(5)
	limits := *target.DefaultTokenLimits()
	limits.TransferBlocks = 512
	made, disks := m.AddTokenTarget(limits, 512, 3*volume, 3*volume)
	if fault != (target.Fault{}) {
		made.Inject(fault)
	}
	var said bytes.Buffer
	everything := &slog.HandlerOptions{Level: slog.Level(math.MinInt), AddSource: true}
	state, err := journal.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	r := byterange.Range{Src: 8 * sector, Dst: 64 * sector, Len: mib}
	end := func(dev remap.Dev) journal.End {
		return journal.End{Name: dev.String(), Identity: dev.String(), Size: m.Endpoint(dev).Device.Size()}
	}
	ranges := []journal.Range{journal.Range(r)}
	state.Begin(journal.Plan{Source: end(disks[0]), Destination: end(disks[1]), Ranges: journal.SumUp(ranges)}, "/", []string{"copy"})
	rep, err := copyOf(t, m, disks[0], disks[1], dispatch.Options{
		Log: slog.New(slog.NewTextHandler(&said, everything)), Window: 256 * kib, Journaling: dispatch.Journaling{Journal: state}, Waits: dispatch.Waits{CommandTimeout: 100 * time.Millisecond},
	}, r)
	if closeErr := state.Close(); closeErr != nil {
		t.Fatal(closeErr)
	}
	fmt.Fprintf(&said, "%v %+v %#v\n%+v %#v\n", err, err, err, rep, rep)
	if err := json.NewEncoder(&said).Encode(rep); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	said.Write(kept)
	given := made.Given()
	if len(given) == 0 {
		t.Fatal("no token was given out")
	}
	for _, token := range given {
		if how, found := tells(said.Bytes(), token[128:256]); found { // what cannot be guessed
			t.Errorf("a token is told, %s:\n%s", how, said.String())
		}
	}
}
