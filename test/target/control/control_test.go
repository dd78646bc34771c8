package control

import (
	"bufio"
	"encoding/json"
	"net"
	"path/filepath"
	"testing"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/test/target"
)

func newTarget(t testing.TB) *target.Target {
	t.Helper()
	made, err := target.New(target.Config{Disks: []target.Disk{{Blocks: 64, BlockSize: 512}, {Blocks: 64, BlockSize: 512}}, Tokens: target.DefaultTokenLimits()})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// ready sends TEST UNIT READY to a unit.
func ready(t *testing.T, made *target.Target, unit int) target.Reply {
	t.Helper()
	return made.Execute(t.Context(), &target.Command{Nexus: "me", Unit: unit, CDB: make([]byte, 6)})
}

func TestSocket(t *testing.T) {
	made := newTarget(t)
	for unit := range 2 {
		ready(t, made, unit) // takes the attention
	}
	path := filepath.Join(t.TempDir(), "control")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- Serve(listener, made) }()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(conn)
	say := func(line string) (r Reply) {
		t.Helper()
		if _, err := conn.Write([]byte(line + "\n")); err != nil || !answers.Scan() {
			t.Fatal(err, answers.Err())
		}
		if err := json.Unmarshal(answers.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := say(`{"Do":"inject","Fault":{"Command":"test-unit-ready","Unit":1,"Times":1,"Sense":"5/23/07","Delay":"1ms"}}`); r.Error != "" {
		t.Error(r.Error)
	}
	for _, unit := range []int{0, 1, 1} {
		ready(t, made, unit)
	}
	log := say(`{"Do":"log"}`).Log
	if n := len(log); n != 5 || log[3].Sense != (scsi.SenseCode{Key: 5, ASC: 0x23, ASCQ: 7}) || log[2].Status != 0 || log[4].Status != 0 || log[3].Name() != "test-unit-ready" {
		t.Errorf("%+v", log)
	}
	if r := say(`{"Do":"impersonate","Unit":1,"Of":0}`); r.Error != "" || made.Identity(1).Serial != made.Identity(0).Serial {
		t.Error(r.Error, made.Identity(1))
	}
	for _, line := range []string{`{"Do":"clear"}`, `{"Do":"revoke"}`, `{"Do":"expire"}`, `{"Do":"tokens"}`, `{"Do":"enforce","Limits":{"Ranges":1}}`, `{"Do":"enforce"}`} {
		if r := say(line); r.Error != "" || r.Tokens != 0 {
			t.Errorf("%s: %+v", line, r)
		}
	}
	if made.Identity(1).Serial == made.Identity(0).Serial {
		t.Error("not cleared")
	}
	for _, line := range []string{`nonsense`, `{"Do":"dance"}`, `{"Do":"inject"}`, `{"Do":"impersonate","Unit":2}`, `{"Do":"inject","Fault":{"Delay":"1"}}`, `{"Do":"inject","Fault":{"Sense":"5/23"}}`, `{"Do":"inject","Fault":{"Sense":"5/23/7/9"}}`} {
		if r := say(line); r.Error == "" {
			t.Errorf("%s: %+v", line, r)
		}
	}
	conn.Close()
	listener.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func FuzzDo(f *testing.F) {
	f.Add([]byte(`{"Do":"inject","Fault":{"Command":"write","Sense":"5/23/07","Delay":"1ms","Unit":1}}`))
	f.Add([]byte(`{"Do":"enforce","Limits":{"Ranges":1}}`))
	f.Add([]byte(`{"Do":"impersonate","Unit":1,"Of":-1}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if _, err := Do(newTarget(t), line); err == nil && !json.Valid(line) {
			t.Error("no JSON, and no error")
		}
	})
}
