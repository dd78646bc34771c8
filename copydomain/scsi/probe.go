package scsi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// probeTimeout bounds every command that only asks: it is given to the kernel
// and, with as much again, to the wait for the answer.
const probeTimeout = 5 * time.Second

// probeTries is how often a command that only asks is sent to a logical unit that
// says that something happened to it, or that it is busy.
const probeTries = 5

// Identity is what tells a logical unit from others, and from itself after it has
// been changed.
type Identity struct {
	Designators []Designator
	Serial      string // empty if there is none
	Capacity    Capacity
}

// Equal: nothing differs.
func (i Identity) Equal(o Identity) bool {
	return i.Serial == o.Serial && i.Capacity == o.Capacity && slices.EqualFunc(i.Designators, o.Designators, Designator.Equal)
}

// Device is a logical unit as its target presents it.
type Device struct {
	Transport Transport
	Inquiry   Inquiry
	Identity
	// Name is the designator that commands name the unit by.
	Name       Designator
	Parameters Parameters
	Form       Form
	Limits     Limits
	Support    blocks.Support // for EXTENDED COPY
	Tokens     Tokens

	pages []uint8
	locks *blocks.RangeLocks
}

// Succeed has a unit that was identified again respect the batches and the fences of what it
// was. It tells whether it can: not with other blocks, if something is fenced.
func (d *Device) Succeed(old *Device) bool {
	if d.Capacity.BlockSize != old.Capacity.BlockSize {
		return !old.locks.Busy()
	}
	d.locks = old.locks
	return true
}

// Tokens says whether, and how, a logical unit takes part in token copies.
type Tokens struct {
	Limits  TokenLimits
	Support blocks.Support
}

// Copies says that there is a command by which the unit copies.
func (d *Device) Copies() bool {
	return d.Support.Able == blocks.Yes || d.Tokens.Support.Able == blocks.Yes
}

// unable says that the unit has no part in copies of any kind.
func (d *Device) unable(why blocks.Support) { d.Support, d.Tokens.Support = why, why }

func (d *Device) String() string {
	return fmt.Sprintf("%s %s (%v)", d.Inquiry.Vendor, d.Inquiry.Product, d.Name)
}

// Probe reads what the logical unit behind t says of itself. An error means that a
// command failed or that its data made no sense; a unit that cannot copy is not an
// error but a [blocks.Support] of No with its reason. Nothing is written.
func Probe(ctx context.Context, t Transport) (*Device, error) {
	d := &Device{Transport: t, locks: new(blocks.RangeLocks)}
	if err := ask(ctx, t, "test unit ready", testUnitReady(), nothing); err != nil {
		return nil, err
	}
	err := ask(ctx, t, "inquiry", inquiry(), func(b []byte) (err error) {
		d.Inquiry, err = ParseInquiry(b)
		return err
	})
	if err != nil {
		return nil, err
	}
	// Nothing else is asked of a device that says no: there are disks, above
	// all at the end of a USB cable, that do not survive unusual questions.
	if why := d.Inquiry.judge(); why.Able != blocks.Yes {
		d.unable(why)
		return d, nil
	}
	if d.pages, err = readPages(ctx, t); err != nil {
		return nil, err
	}
	if d.Identity, err = d.identify(ctx); err != nil {
		return nil, err
	}
	var named bool
	if d.Name, named = choose(d.Designators); !named {
		d.unable(blocks.Unsupported("domain:no-designator", "the logical unit has no name that a command could use"))
		return d, nil
	}
	if d.Capacity.Protected {
		d.unable(blocks.Unsupported("domain:metadata", "blocks carry protection information"))
		return d, nil
	}
	page, err := d.readThirdParty(ctx)
	if err != nil {
		return nil, err
	}
	d.judgeTokens(page)
	d.Support, err = d.readLimits(ctx, page)
	return d, err
}

// readThirdParty reads what a unit with a third-party copy page tells there.
func (d *Device) readThirdParty(ctx context.Context) (page ThirdParty, err error) {
	if !slices.Contains(d.pages, pageThirdParty) {
		return page, nil
	}
	err = ask(ctx, d.Transport, "third-party copy page", inquiryPage(pageThirdParty), func(b []byte) (err error) {
		page, err = ParseThirdParty(b)
		return err
	})
	return page, err
}

func (d *Device) judgeTokens(page ThirdParty) {
	d.Tokens.Support = page.judgeTokens()
	if page.Tokens != nil {
		d.Tokens.Limits = page.Tokens.round()
	}
}

func (i Inquiry) judge() blocks.Support {
	switch {
	case i.Qualifier != 0 || i.DeviceType != deviceTypeDisk:
		return blocks.Unsupported("domain:not-a-disk", "peripheral qualifier %d, device type %02xh", i.Qualifier, i.DeviceType)
	case !i.ThirdParty:
		return blocks.Unsupported("domain:no-copy-command", "the logical unit has no third-party copy commands (INQUIRY byte 5 bit 3)")
	}
	return blocks.Support{Able: blocks.Yes}
}

func readPages(ctx context.Context, t Transport) (pages []uint8, err error) {
	err = ask(ctx, t, "supported pages", inquiryPage(pageSupported), func(b []byte) (err error) {
		pages, err = ParsePages(b)
		return err
	})
	return pages, err
}

// identify reads who the unit is.
func (d *Device) identify(ctx context.Context) (id Identity, err error) {
	if slices.Contains(d.pages, pageDesignator) {
		err = ask(ctx, d.Transport, "device identification", inquiryPage(pageDesignator), func(b []byte) (err error) {
			id.Designators, err = ParseDesignators(b)
			return err
		})
	}
	if err == nil && slices.Contains(d.pages, pageSerial) {
		err = ask(ctx, d.Transport, "serial number", inquiryPage(pageSerial), func(b []byte) (err error) {
			id.Serial, err = ParseSerial(b)
			return err
		})
	}
	if err == nil {
		id.Capacity, err = readCapacity(ctx, d.Transport)
	}
	return id, err
}

// readCapacity prefers the long command, which tells of protection information as
// well; small units of old need not know it.
func readCapacity(ctx context.Context, t Transport) (c Capacity, err error) {
	err = ask(ctx, t, "read capacity", readCapacity16(), func(b []byte) (err error) {
		c, err = ParseCapacity16(b)
		return err
	})
	if !illegal(err) {
		return c, err
	}
	err = ask(ctx, t, "read capacity", readCapacity10(), func(b []byte) (err error) {
		c, err = ParseCapacity10(b)
		return err
	})
	return c, err
}

// illegal: the unit does not know the command, or a field of it.
func illegal(err error) bool {
	var a Answer
	return errors.As(err, &a) && a.Status == CheckCondition && a.HasSense && !a.Deferred && a.Sense.Key == IllegalRequest
}

// readLimits asks how much the target takes at a time. What it does not tell is
// not guessed.
func (d *Device) readLimits(ctx context.Context, page ThirdParty) (blocks.Support, error) {
	err := ask(ctx, d.Transport, "receive copy operating parameters", receiveParameters(), func(b []byte) (err error) {
		d.Parameters, err = ParseParameters(b)
		return err
	})
	if illegal(err) {
		return blocks.Unsupported("domain:no-operating-parameters", "%v", err), nil
	}
	if err != nil {
		return blocks.Support{}, err
	}
	d.Parameters = d.Parameters.merge(page)
	d.Limits = limitsOf(d.Parameters, d.Capacity.BlockSize)
	return d.judgeLimits(page), nil
}

func (d *Device) judgeLimits(page ThirdParty) blocks.Support {
	knows := func(code uint8) bool {
		return slices.Contains(d.Parameters.Types, code) && (page.Descriptors == nil || slices.Contains(page.Descriptors, code))
	}
	form, ok := page.form()
	d.Form = form
	switch {
	case !ok:
		return blocks.Unsupported("domain:no-copy-command", "the third-party copy page does not list EXTENDED COPY")
	case !knows(segmentBlockToBlock) || !knows(cscdIdentification):
		return blocks.Unsupported("domain:descriptors", "the target knows descriptors % x", d.Parameters.Types)
	case d.Parameters.Descriptors == 0 || !d.Limits.Valid():
		return blocks.Unsupported("limit:zero", "the target reports a limit of zero (%v)", d.Limits)
	}
	return blocks.Support{Able: blocks.Yes}
}

// form is the form of EXTENDED COPY that the page lists: the short one, which
// nearly every target knows, before the long one. Without a list it is the short
// one.
func (t ThirdParty) form() (_ Form, ok bool) {
	if t.Commands == nil || slices.Contains(t.Commands, ServiceAction{OpThirdPartyOut, saExtendedCopyLID1}) {
		return LID1, true
	}
	return LID4, slices.Contains(t.Commands, ServiceAction{OpThirdPartyOut, saExtendedCopyLID4})
}

// Same makes sure that the logical unit is still the one that was probed, in all
// that a copy depends on.
func (d *Device) Same(ctx context.Context) error {
	now, err := d.identify(ctx)
	if err != nil {
		return err
	}
	if !d.Identity.Equal(now) {
		return opError("identify", d.String(), blocks.ErrChanged)
	}
	return nil
}

// Flush makes the device write its volatile cache to the medium. It reaches the
// cache even where an administrator told the kernel that there is none
// (queue/write_cache), in which case fsync would send nothing.
func (d *Device) Flush(ctx context.Context, timeout time.Duration) error {
	c := synchronizeCache(OpSynchronizeCache16)
	c.Timeout = timeout
	err := ask(ctx, d.Transport, "synchronize cache", c, nothing)
	if illegal(err) { // the kernel's disk driver sends the short one by default
		c = synchronizeCache(OpSynchronizeCache10)
		c.Timeout = timeout
		err = ask(ctx, d.Transport, "synchronize cache", c, nothing)
	}
	return err
}

// CopyStatus asks what has become of a copy with a list identifier. Targets that
// copy without identifiers know nothing of it.
func (d *Device) CopyStatus(ctx context.Context, form Form, id uint32) (s CopyStatus, err error) {
	if form == LID4 {
		err = ask(ctx, d.Transport, "receive copy status", receiveStatusLID4(id), func(b []byte) (err error) {
			s, err = ParseCopyStatusLID4(b)
			return err
		})
		return s, err
	}
	if id > 0xFF {
		return s, opError("receive copy status", d.String(), fmt.Errorf("%w: list identifier %#x", blocks.ErrInvalid, id))
	}
	err = ask(ctx, d.Transport, "receive copy status", receiveStatusLID1(uint8(id)), func(b []byte) (err error) {
		s, err = ParseCopyStatusLID1(b)
		return err
	})
	return s, err
}

func nothing([]byte) error { return nil }

// ask sends a command that changes nothing and hands what came back to parse.
// Units that had something to tell first, or are busy, are asked again.
func ask(ctx context.Context, t Transport, op string, c Command, parse func([]byte) error) error {
	for try := 1; ; try++ {
		data, err := once(ctx, t, c)
		if err == nil {
			return opError(op, "", parse(data))
		}
		var a Answer
		if !errors.As(err, &a) || try == probeTries {
			return opError(op, "", err)
		}
		action, _ := a.action(Sense{})
		if action == blocks.ActionRetry {
			err = pause(ctx, try)
		}
		if action != blocks.ActionRetry && (a.Status != CheckCondition || a.Sense.Key != UnitAttention) || ctx.Err() != nil {
			return opError(op, "", err)
		}
	}
}

// once sends a command once and waits for it no longer than ctx and twice its
// timeout. One that does not come back is left to its goroutine, which ends when
// the kernel lets go of it; it owns its command and buffer, so nobody is
// disturbed.
func once(ctx context.Context, t Transport, c Command) ([]byte, error) {
	if c.Timeout == 0 {
		c.Timeout = probeTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*c.Timeout, blocks.ErrTimeout)
	defer cancel()
	c.Data = make([]byte, len(c.Data))
	type reply struct {
		Completion
		err error
	}
	done := make(chan reply, 1)
	go func() {
		completion, err := t.Do(ctx, &c)
		if err == nil {
			if err = completion.Err(); err != nil {
				clear(c.Data) // nobody looks at it, and it may hold a token
			}
		}
		done <- reply{completion, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		return c.Data[:len(c.Data)-min(max(r.Resid, 0), len(c.Data))], nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// pause waits before the next try: 100 ms, and twice as long each time, at most 2
// seconds.
func pause(ctx context.Context, try int) error {
	return blocks.Pause(ctx, min(100*time.Millisecond<<min(try-1, 10), 2*time.Second))
}
