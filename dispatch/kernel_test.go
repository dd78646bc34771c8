package dispatch

import (
	"errors"
	"testing"

	"github.com/dmcopy/dmcopy/snapshot"
)

// TestMachineWithoutLog: who wants no log gives none.
func TestMachineWithoutLog(t *testing.T) {
	reader := snapshot.NewReader(snapshot.Options{})
	m := NewMachine(reader, nil)
	w := m.Watch()
	w.Concern(nil)
	if err := errors.Join(w.Close(), m.Close(), reader.Close()); err != nil {
		t.Error(err)
	}
}
