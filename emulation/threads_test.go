package emulation_test

import (
	"testing"

	"github.com/dmcopy/dmcopy/emulation"
	"github.com/dmcopy/dmcopy/emulation/enginetest"
)

func newThreads(o emulation.Options) (emulation.Engine, error) { return emulation.NewThreads(o) }

func TestThreads(t *testing.T) { enginetest.Run(t, newThreads) }
