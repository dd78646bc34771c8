// Package control changes a target while it runs, over a unix socket: one JSON object a line, one line in answer.
package control

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/scsi"
	"github.com/dmcopy/dmcopy/test/target"
)

// Request is what is asked for. The README lists what there is.
type Request struct {
	Do     string
	Fault  *Fault
	Unit   int
	Of     int
	Limits *target.TokenLimits
}

// Fault is [target.Fault] with what people write: "250ms", "5/23/07".
type Fault struct {
	target.Fault
	Delay, Work string
	Sense       string
}

// Reply says what has become of a request.
type Reply struct {
	Error  string         `json:",omitempty"`
	Log    []target.Entry `json:",omitempty"`
	Tokens int
}

// Serve answers on a listener until it is closed.
func Serve(listener net.Listener, t *target.Target) error {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go serve(conn, t)
	}
}

func serve(conn net.Conn, t *target.Target) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		reply, err := Do(t, lines.Bytes())
		if err != nil {
			reply.Error = err.Error()
		}
		if json.NewEncoder(conn).Encode(reply) != nil {
			return
		}
	}
}

// Do carries out one request.
func Do(t *target.Target, line []byte) (reply Reply, err error) {
	var r Request
	if err := json.Unmarshal(line, &r); err != nil {
		return reply, err
	}
	switch r.Do {
	case "inject":
		err = inject(t, r.Fault)
	case "clear":
		err = t.Clear()
	case "revoke":
		t.Revoke()
	case "expire":
		t.Expire()
	case "enforce":
		t.Enforce(r.Limits)
	case "impersonate":
		err = t.Impersonate(r.Unit, r.Of)
	case "log":
		reply.Log = t.Log()
	case "tokens":
	default:
		err = fmt.Errorf("control: nobody knows how to %q", r.Do)
	}
	reply.Tokens = t.Tokens()
	return reply, err
}

func inject(t *target.Target, f *Fault) (err error) {
	if f == nil {
		return errors.New("control: no fault")
	}
	fault := f.Fault
	for text, field := range map[*string]*time.Duration{&f.Delay: &fault.Delay, &f.Work: &fault.Work} {
		if *text == "" {
			continue
		}
		if *field, err = time.ParseDuration(*text); err != nil {
			return err
		}
	}
	if f.Sense != "" {
		if fault.Sense, err = parseSense(f.Sense); err != nil {
			return err
		}
	}
	t.Inject(fault)
	return nil
}

// parseSense reads key, code and qualifier in hexadecimal.
func parseSense(text string) (code scsi.SenseCode, err error) {
	var rest string
	n, _ := fmt.Sscanf(text+" ", "%x/%x/%x%s", &code.Key, &code.ASC, &code.ASCQ, &rest)
	if n != 3 {
		return code, fmt.Errorf("control: sense %q is not like 5/23/07", text)
	}
	return code, nil
}
