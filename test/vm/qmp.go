package vm

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// QMPError is a command that QEMU refused.
type QMPError struct {
	Command string // as sent
	Class   string // QEMU's error class, "GenericError"
	Desc    string // QEMU's words
}

func (e *QMPError) Error() string { return fmt.Sprintf("qmp %s: %s", e.Command, e.Desc) }

type qmpRequest struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
}

type qmpResponse struct {
	Return json.RawMessage `json:"return,omitempty"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error,omitempty"`
	Event string `json:"event,omitempty"`
}

// monitor speaks QMP with QEMU, one command at a time.
type monitor struct {
	mu   sync.Mutex
	conn io.ReadWriter
	in   *json.Decoder
}

// newMonitor reads the greeting and leaves the negotiation mode. From then on every block node is open.
func newMonitor(conn io.ReadWriter) (*monitor, error) {
	m := &monitor{conn: conn, in: json.NewDecoder(conn)}
	var greeting json.RawMessage
	if err := m.in.Decode(&greeting); err != nil {
		return nil, fmt.Errorf("qmp greeting: %w", err)
	}
	_, err := m.execute(qmpRequest{Execute: "qmp_capabilities"})
	return m, err
}

// execute sends one command and returns its response; events on the way are dropped.
func (m *monitor) execute(request qmpRequest) (qmpResponse, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return qmpResponse{}, fmt.Errorf("qmp %s: %w", request.Execute, err)
	}
	for {
		var response qmpResponse
		if err := m.in.Decode(&response); err != nil {
			return qmpResponse{}, fmt.Errorf("qmp %s: %w", request.Execute, err)
		}
		if response.Event == "" {
			return response, nil
		}
	}
}

// relay answers the guest's requests, a line each, until the channel ends.
func (m *monitor) relay(guest io.ReadWriter) error {
	in, out := json.NewDecoder(guest), json.NewEncoder(guest)
	for {
		var request qmpRequest
		if err := in.Decode(&request); err != nil {
			return err
		}
		response, err := m.answer(request)
		if err != nil {
			return err
		}
		if err := out.Encode(response); err != nil {
			return err
		}
	}
}

// pauseCommand is one that QEMU does not know: a guest that has stopped itself cannot say that it is to go on.
const pauseCommand = "dmcopy-pause"

// answer executes what the guest asks for.
func (m *monitor) answer(request qmpRequest) (qmpResponse, error) {
	if request.Execute != pauseCommand {
		return m.execute(request)
	}
	var pause time.Duration
	if err := json.Unmarshal(request.Arguments, &pause); err != nil {
		return qmpResponse{}, err
	}
	if response, err := m.execute(qmpRequest{Execute: "stop"}); err != nil || response.Error != nil {
		return response, err
	}
	time.Sleep(pause)
	return m.execute(qmpRequest{Execute: "cont"})
}

// Pause stops the whole guest for a while, as somebody does who takes a snapshot of a machine. The clocks of the guest
// stand still meanwhile.
func Pause(pause time.Duration) error { return QMP(pauseCommand, pause, nil) }

// QMP sends a command to the QEMU that runs this guest and stores its return value in result; arguments and result may be
// nil. See QEMU's qapi documentation for the commands, and [Disk.Name] for the names of nodes and devices. QEMU's refusal
// is a [*QMPError].
func QMP(command string, arguments, result any) error {
	request := qmpRequest{Execute: command}
	if arguments != nil {
		text, err := json.Marshal(arguments)
		if err != nil {
			return fmt.Errorf("qmp %s: %w", command, err)
		}
		request.Arguments = text
	}
	response, err := askHost(request)
	if err != nil {
		return fmt.Errorf("qmp %s: %w", command, err)
	}
	if response.Error != nil {
		return &QMPError{Command: command, Class: response.Error.Class, Desc: response.Error.Desc}
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(response.Return, result)
}

// HMP runs a command of QEMU's human monitor and returns what it prints.
func HMP(line string) (string, error) {
	var out string
	err := QMP("human-monitor-command", map[string]any{"command-line": line}, &out)
	return out, err
}

// askHost exchanges one line with the host. A port can be open once only in the whole guest, hence the file lock.
func askHost(request qmpRequest) (qmpResponse, error) {
	var response qmpResponse
	lock, err := os.OpenFile("/run/dmcopy/qmp.lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return response, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return response, err
	}
	path, err := portPath(channelQMP)
	if err != nil {
		return response, err
	}
	port, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return response, err
	}
	defer port.Close()
	if err := json.NewEncoder(port).Encode(request); err != nil {
		return response, err
	}
	line, err := bufio.NewReader(port).ReadBytes('\n')
	if err != nil {
		return response, err
	}
	return response, json.Unmarshal(line, &response)
}
