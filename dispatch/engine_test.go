package dispatch_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/internal/dispatch/hold"
	"github.com/dmcopy/dmcopy/internal/dispatch/machine"
	"github.com/dmcopy/dmcopy/remap"
	"github.com/dmcopy/dmcopy/test/fakestack"
)

// counted is a machine whose holders are counted: each of them starts processes.
type counted struct {
	*fakestack.Machine
	holders, closed int
}

func (c *counted) Holder(mode hold.Mode, dst *remap.Node) machine.Holder {
	c.holders++
	return &countedHolder{c.Machine.Holder(mode, dst), c}
}

type countedHolder struct {
	machine.Holder
	machine *counted
}

func (h *countedHolder) Close() error {
	h.machine.closed++
	return h.Holder.Close()
}

// TestWarmEngine: a second copy between volumes that have stayed open identifies no disk,
// starts no process and proves nothing again; after a while, it proves again.
func TestWarmEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVolumes(t)
		m := &counted{Machine: v.Machine}
		e := dispatch.New(m)
		src, dst := e.Open(v.Endpoint(v.src)), e.Open(v.Endpoint(v.dst))
		copied := func() *account.Report {
			v.Fill(v.dst, 0, bytes.Repeat([]byte{0x5A}, int(volume.Bytes())))
			rep, err := e.Copy(t.Context(), dispatch.Between(src, dst), dispatch.Options{})
			checkReport(t, rep, err)
			if err != nil || rep.Offloaded != rep.Total {
				t.Fatalf("%+v, %v", rep, err)
			}
			return rep
		}
		if first := copied(); first.ReadBack == 0 || m.holders != 1 || m.closed != 0 {
			t.Errorf("%+v, %d holders, %d closed", first, m.holders, m.closed)
		}
		asked := v.Calls("admin")
		if asked == 0 {
			t.Error("nothing was identified")
		}
		if second := copied(); second.ReadBack != 0 || m.holders != 1 || v.Calls("admin") != asked {
			t.Errorf("%+v, %d holders, %d questions", second, m.holders, v.Calls("admin")-asked)
		}
		time.Sleep(11 * time.Minute)
		if third := copied(); third.ReadBack == 0 {
			t.Errorf("%+v", third)
		}
		if err := dst.Close(); err != nil || m.closed != 1 {
			t.Errorf("%v, %d closed", err, m.closed)
		}
	})
}

// TestColdVolumes: what holds the destination of a copy that nobody keeps open ends with it.
func TestColdVolumes(t *testing.T) {
	v := newVolumes(t)
	m := &counted{Machine: v.Machine}
	e := dispatch.New(m)
	for n := range 2 {
		rep, err := e.Copy(t.Context(), dispatch.Job{Src: v.Endpoint(v.src), Dst: v.Endpoint(v.dst)}, dispatch.Options{})
		if err != nil || rep.ByMethod[account.NVMeCopy] == 0 || m.holders != n+1 || m.closed != n+1 {
			t.Errorf("%+v, %v, %d holders, %d closed", rep, err, m.holders, m.closed)
		}
	}
}
