package hold

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// file is a file opened as anchors open devices. Asynchronous reads work on it
// as they do on a device, only that they cannot be held back.
func file(t *testing.T) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		f, err = os.Open(path) // tmpfs of old kernels
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func start(t *testing.T) *helper {
	t.Helper()
	h, err := startHelper(file(t), "", "")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHelperReads(t *testing.T) {
	h := start(t)
	spans := []span{{0, 4096}, {8192, maxRead * 512}, {1 << 19, 4096}}
	ids, err := h.read(spans)
	if err != nil || len(ids) != 3 {
		t.Fatal(ids, err)
	}
	done, err := h.ended(ids, 5*time.Second)
	if err != nil || len(done) != 3 {
		t.Fatal(done, err)
	}
	for i, d := range done {
		if d.ID != ids[i] || d.Result != int64(spans[i].Length) {
			t.Errorf("read %+v ended with %+v", spans[i], d)
		}
	}
	if err := h.close(5 * time.Second); err != nil {
		t.Error(err)
	}
}

// TestHelperReuses: a helper serves many windows without running out of
// anything.
func TestHelperReuses(t *testing.T) {
	h := start(t)
	defer h.close(5 * time.Second)
	seen := make(map[int]bool)
	for range 3 * maxReads {
		ids, err := h.read([]span{{0, 4096}, {4096, 4096}})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if seen[id] {
				t.Fatalf("read %d twice", id)
			}
			seen[id] = true
		}
		if done, err := h.ended(ids, 5*time.Second); err != nil || len(done) != 2 {
			t.Fatal(done, err)
		}
	}
}

// TestHelperRefuses: a request that cannot be carried out is answered, and the
// next one is carried out.
func TestHelperRefuses(t *testing.T) {
	h := start(t)
	defer h.close(5 * time.Second)
	many := slices.Repeat([]span{{0, 4096}}, maxReads+1)
	for name, spans := range map[string][]span{
		"empty": {{0, 0}}, "negative": {{0, -1}}, "too long": {{0, maxRead*512 + 512}}, "negative offset": {{-4096, 4096}}, "too many": many,
	} {
		ids, err := h.read(spans)
		if !errors.Is(err, unix.EINVAL) {
			t.Errorf("%s: %v", name, err)
		}
		if done, err := h.ended(ids, 5*time.Second); err != nil || len(done) != len(ids) {
			t.Errorf("%s: %d of %d reads that were begun ended: %v", name, len(done), len(ids), err)
		}
	}
	if done, err := h.ended([]int{12345}, 0); err != nil || len(done) != 0 {
		t.Errorf("a read that never was: %v, %v", done, err)
	}
	if ids, err := h.read([]span{{0, 4096}}); err != nil || len(ids) != 1 {
		t.Error(ids, err)
	}
}

// TestHelperDies: whoever asks a dead helper is told.
func TestHelperDies(t *testing.T) {
	h := start(t)
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.read([]span{{0, 4096}}); err == nil {
		t.Error("a dead helper reads")
	}
	d := anchorHold{anchor: &Anchor{kernel: &system{reader: h}, device: os.Stdin}, current: &readSet{reads: []*anchorRead{{id: 0}}}}
	if err := d.Check(); !errors.Is(err, ErrLost) {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := h.close(5 * time.Second); !errors.As(err, &exit) {
		t.Error(err)
	}
}

// TestHelperEnds: with its parent, and without an error.
func TestHelperEnds(t *testing.T) {
	h := start(t)
	ids, err := h.read([]span{{0, 4096}})
	if err != nil || len(ids) != 1 {
		t.Fatal(err)
	}
	if err := h.close(5 * time.Second); err != nil {
		t.Error(err)
	}
}

// TestHelperLosesReader: a helper whose parent does not listen any more still
// sees to its reads and ends in good order.
func TestHelperLosesReader(t *testing.T) {
	h := start(t)
	if err := h.replies.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.requests.Write([]byte(`{"read":[{"offset":0,"length":4096}]}` + "\n")); err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Wait(); err != nil {
		t.Errorf("the helper ended with: %v", err)
	}
}

// TestHelperGarbage: a request that is none ends the helper with a message.
func TestHelperGarbage(t *testing.T) {
	_, err := serve(strings.NewReader("{\"read\":[{\n"), io.Discard, 0)
	if err == nil || !strings.Contains(err.Error(), "request") {
		t.Error(err)
	}
	if _, err := serve(strings.NewReader(""), io.Discard, 0); err != nil {
		t.Error(err)
	}
}

// fakeHelper is a helper that the test plays itself.
func fakeHelper(t *testing.T) (h *helper, requests *bufio.Scanner, replies *os.File) {
	in, requestPipe, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	replyPipe, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, f := range []*os.File{in, requestPipe, replyPipe, out} {
			f.Close()
		}
	})
	return &helper{requests: requestPipe, replies: replyPipe, lines: bufio.NewReader(replyPipe)}, bufio.NewScanner(in), out
}

// TestLateReply: the reply to a request that was given up must not be taken for
// the reply to the next one. Here it would say that the anchor is in flight.
func TestLateReply(t *testing.T) {
	h, requests, replies := fakeHelper(t)
	soon := 50*time.Millisecond - replyGrace
	if _, err := h.call(helperRequest{Wait: []int{1}, Millis: soon.Milliseconds()}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	encoder := json.NewEncoder(replies)
	if err := encoder.Encode(helperReply{}); err != nil { // late: nothing has ended by then
		t.Fatal(err)
	}
	if err := encoder.Encode(helperReply{Done: []outcome{{ID: 1}}}); err != nil { // to the request below
		t.Fatal(err)
	}
	done, err := h.ended([]int{1}, 0)
	if err == nil && len(done) == 0 {
		t.Error("the late reply was taken for the new one")
	}
	if !requests.Scan() {
		t.Error("no request")
	}
}

// TestReplies: what a helper cannot have said is an error.
func TestReplies(t *testing.T) {
	for _, line := range []string{"", "x", "{", `{"done":1}`} {
		h, _, replies := fakeHelper(t)
		if _, err := replies.WriteString(line + "\n"); err != nil {
			t.Fatal(err)
		}
		if a, err := h.call(helperRequest{}); err == nil {
			t.Errorf("%q: %+v", line, a)
		}
	}
	h, _, replies := fakeHelper(t)
	if _, err := replies.WriteString(`{"errno":5}` + "\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.call(helperRequest{}); !errors.Is(err, unix.EIO) {
		t.Error(err)
	}
}
