package nvme

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// adminTimeout bounds every Identify and Get Log Page: it is given to the kernel
// and, with as much again, to the wait for the answer.
const adminTimeout = 5 * time.Second

// Verdict answers a question whose answer may not be known.
type Verdict uint8

const (
	// Unknown: it could not be found out. For a copy that means no.
	Unknown Verdict = iota
	// Yes, the device said so.
	Yes
	// No, for the reason given.
	No
)

func (v Verdict) String() string {
	switch v {
	case Yes:
		return "yes"
	case No:
		return "no"
	}
	return "unknown"
}

// Support says whether a namespace can copy within itself.
type Support struct {
	Verdict Verdict
	Reason  string // slug, empty when Yes
	Detail  string // for people
}

// Device is a namespace as a controller presents it.
type Device struct {
	Transport   Transport
	NSID        uint32
	Controller  Controller
	Namespace   Namespace
	Identifiers Identifiers
	Support     Support

	ledger blocks.Ledger
	once   sync.Once
	slots  chan *slot // of all Copiers that write to the namespace
}

func (d *Device) String() string {
	return fmt.Sprintf("%s (%s) nsid %d", d.Controller.Model, d.Controller.Serial, d.NSID)
}

// Probe reads what the controller behind t says of itself and of the namespace.
// An error means that an Identify failed or made no sense; a namespace that
// cannot copy is not an error but a [Support] of No with its reason.
func Probe(ctx context.Context, t Transport, nsid uint32) (*Device, error) {
	d := &Device{Transport: t, NSID: nsid}
	b, err := identify(ctx, t, cnsController, 0)
	if err != nil {
		return nil, err
	}
	if d.Controller, err = ParseController(b); err != nil {
		return nil, err
	}
	if d.Namespace, err = readNamespace(ctx, t, nsid); err != nil {
		return nil, err
	}
	d.Support = judgeSupport(d.Controller, d.Namespace)
	if d.Support.Verdict != Yes {
		return d, nil
	}
	if d.Identifiers, d.Support, err = readIdentifiers(ctx, t, nsid); err != nil {
		return nil, err
	}
	if d.Support.Verdict == Yes && d.Controller.EffectsLog {
		d.Support = checkEffects(ctx, t)
	}
	return d, nil
}

// judgeSupport applies what Identify alone can tell.
func judgeSupport(c Controller, n Namespace) Support {
	no := func(reason, format string, args ...any) Support {
		return Support{Verdict: No, Reason: reason, Detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case !c.Copy:
		return no("domain:no-copy-command", "the controller has no Copy command (ONCS bit 8)")
	case !c.CopyFormats.Has(Format0):
		return no("domain:format-0-unsupported", "the controller does not know descriptor format 0 (OCFS %#04x)", c.CopyFormats)
	case n.MetadataSize != 0 || n.Protection != 0:
		return no("domain:metadata", "the namespace has %d bytes of metadata a block and protection information of type %d, which no command here carries", n.MetadataSize, n.Protection)
	case !n.Limits.Valid():
		return no("limit:zero", "the namespace reports a limit of zero (%v)", n.Limits)
	case n.WriteProtect:
		return no("domain:write-protected", "the namespace is write protected")
	}
	return Support{Verdict: Yes}
}

// readIdentifiers finds out the command set: a zoned or key-value namespace has
// rules for writing that Copy would have to obey. The list is mandatory since
// NVMe 1.3, and Copy is younger, so a device that copies has it.
func readIdentifiers(ctx context.Context, t Transport, nsid uint32) (Identifiers, Support, error) {
	b, err := identify(ctx, t, cnsNamespaceDescs, nsid)
	if status := Status(0); errors.As(err, &status) {
		return Identifiers{}, Support{Unknown, "domain:command-set-unknown", err.Error()}, nil
	}
	if err != nil {
		return Identifiers{}, Support{}, err
	}
	ids, err := ParseIdentifiers(b)
	if err != nil {
		return Identifiers{}, Support{}, err
	}
	switch ids.CommandSet {
	case CommandSetNVM:
		return ids, Support{Verdict: Yes}, nil
	case CommandSetZoned:
		return ids, Support{No, "domain:zoned", "the namespace is zoned"}, nil
	}
	return ids, Support{No, "domain:command-set", fmt.Sprintf("the namespace has command set %#x", uint8(ids.CommandSet))}, nil
}

// checkEffects asks the Commands Supported and Effects log as well. It can only
// take a yes away: without the privilege to read it, or with a controller that
// fails to, ONCS stands.
func checkEffects(ctx context.Context, t Transport) Support {
	b := make([]byte, 4096)
	err := admin(ctx, t, "read effects log", Command{
		Opcode: OpGetLogPage,
		NSID:   0xFFFFFFFF,
		CDW10:  0x05 | uint32(len(b)/4-1)<<16, // LID, NUMDL counts dwords from 0
		Data:   b,
	})
	if err != nil {
		return Support{Verdict: Yes}
	}
	effects, err := ParseEffects(b, OpCopy)
	if err != nil || effects.Supported() {
		return Support{Verdict: Yes}
	}
	return Support{No, "domain:no-copy-command", "the Commands Supported and Effects log denies Copy"}
}

func readNamespace(ctx context.Context, t Transport, nsid uint32) (Namespace, error) {
	b, err := identify(ctx, t, cnsNamespace, nsid)
	if err != nil {
		return Namespace{}, err
	}
	return ParseNamespace(b)
}

// identify sends Identify and returns the data structure.
func identify(ctx context.Context, t Transport, cns uint8, nsid uint32) ([]byte, error) {
	b := make([]byte, IdentifySize)
	op := fmt.Sprintf("identify cns %02xh", cns)
	err := admin(ctx, t, op, Command{Opcode: OpIdentify, NSID: nsid, CDW10: uint32(cns), Data: b})
	return b, err
}

// admin sends a command that only reads from the controller and waits for it no
// longer than ctx and twice the admin timeout. One that does not come back is
// left to its goroutine, which ends when the kernel lets go of it; it owns its
// command and buffer, so nobody is disturbed.
func admin(ctx context.Context, t Transport, op string, c Command) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*adminTimeout, ErrTimeout)
	defer cancel()
	c.Timeout = adminTimeout
	done := make(chan error, 1)
	go func() {
		completion, err := t.Admin(ctx, &c)
		if err == nil && completion.Status.Code() != StatusSuccess {
			err = completion.Status
		}
		done <- err
	}()
	select {
	case err := <-done:
		return opError(op, "", err)
	case <-ctx.Done():
		return opError(op, "", context.Cause(ctx))
	}
}
