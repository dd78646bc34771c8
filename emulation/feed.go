package emulation

// feeder cuts operations into pieces and hands them to the workers.
type feeder struct {
	*job
	// hand waits until the piece can be taken. Its error ends the job.
	hand func(piece Op) error
}

// feed hands out all operations of the job, or ends it.
func (j *job) feed(hand func(piece Op) error) {
	f := feeder{job: j, hand: hand}
	if err := f.all(); err != nil {
		j.end(err)
	}
}

// all hands out all operations. Neighbours are joined first: small extents cost
// as much as large ones.
func (f *feeder) all() error {
	// Joined, operations on one device could overlap themselves, and then they
	// would have to go one piece after another.
	join := !f.options.Ordered && !f.sameDevice
	var pending Op
	for op := range f.ops {
		if err := f.check(op); err != nil {
			return err
		}
		if join && pending.precedes(op) {
			pending.Len += op.Len
		} else {
			if err := f.finish(pending); err != nil {
				return err
			}
			pending = op
		}
		// Pieces that are whole can go, what comes next will not change them.
		for join {
			head, tail := pending.cut(f.size(pending))
			if tail.Len == 0 {
				break
			}
			if err := f.send(head); err != nil {
				return err
			}
			pending = tail
		}
	}
	return f.finish(pending)
}

// zeroPieces is how many transfers of zeroes a device is asked for at a time: they take no
// memory, and the more at a time the better, but a call cannot be called off.
const zeroPieces = 16

// size is that of the pieces of op.
func (f *feeder) size(op Op) int64 {
	if op.Zero && f.writes {
		return f.piece * zeroPieces
	}
	return f.piece
}

func (f *feeder) check(op Op) error {
	if err := f.dst.check(op.Dst, op.Len); err != nil || op.Zero {
		return err
	}
	return f.src.check(op.Src, op.Len)
}

// finish hands out all of op.
func (f *feeder) finish(op Op) error {
	serial := f.writes && f.sameDevice && op.overlaps()
	if serial {
		f.inFlight.Wait()
	}
	all := op
	for op.Len > 0 {
		var piece Op
		if serial && op.Dst > op.Src { // as memmove: read the end before it is overwritten
			op, piece = op.cutLast(f.size(op))
		} else {
			piece, op = op.cut(f.size(op))
		}
		if err := f.send(piece); err != nil {
			return err
		}
		if serial {
			if err := f.settled(piece); err != nil {
				return err
			}
		}
	}
	if f.options.Ordered {
		return f.settled(all)
	}
	return nil
}

// settled waits for all that has been handed out. What comes next can overwrite
// the source of it, so after a failure nothing must come next.
func (f *feeder) settled(op Op) error {
	f.inFlight.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.writes && len(f.result.Failures) > 0 {
		return &Error{"copy", f.dst.Name(), op.Dst, op.Len, ErrStopped}
	}
	return nil
}

func (f *feeder) send(piece Op) error {
	f.inFlight.Add(1)
	err := f.hand(piece)
	if err != nil {
		f.inFlight.Done()
	}
	return err
}
