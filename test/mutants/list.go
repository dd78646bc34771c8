package main

// The guards, in the order of docs/safety.md.
var mutants = []mutant{
	{
		guard: "legs of replicas that are not readable",
		file:  "dispatch/plan.go", old: "if leg.Readable {", new: "if leg.Readable || true {",
		in: "./dispatch", tests: "OffloadEqualsHost",
	},
	{
		guard: "overlap below",
		file:  "dispatch/survey.go", old: "if !shared.any() {", new: "if true {",
		in: "./dispatch", tests: "Overlap|Shared|Twice",
	},
	{
		guard: "equal ciphers",
		file:  "dispatch/plan.go", old: "cipher := remap.SameCipher(src, dst)", new: "cipher := src.Kind == remap.Cipher && dst.Kind == remap.Cipher",
		in: "./dispatch", tests: "Cipher",
	},
	{
		guard: "hold",
		file:  "dispatch/offload.go", old: "held, err := r.holder.Hold(ctx, request(r.plan.stack, steps, min(holdWait, r.opts.Patience)))",
		new: "held, err := r.holder.Hold(ctx, hold.Request{})",
		in:  "./dispatch", tests: "Hold|Swap|Move|Random",
	},
	{
		guard: "hold still on after the commands",
		file:  "dispatch/offload.go", old: "lostHold := errors.Join(letGo(), held.Check())", new: "lostHold := letGo()",
		in: "./dispatch", tests: "Hold",
	},
	{
		guard: "hold extended for slow commands",
		file:  "dispatch/offload.go", old: "if err := held.Extend(); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "Hold|Extend|Slow",
	},
	{
		guard: "comparison before the commands",
		file:  "dispatch/offload.go", old: "if err != nil || len(changed) > 0 {", new: "if err != nil {",
		in: "./dispatch", tests: "Swap|Move|Random",
	},
	{
		guard: "comparison after the commands",
		file:  "dispatch/offload.go", old: "moved := remap.Moved(changed)", new: "moved := remap.Moved(changed[:0])",
		in: "./dispatch", tests: "Swap|Move",
	},
	{
		guard: "second look at sources that drift",
		file:  "dispatch/drift.go", old: "if !r.plan.stack.Drifts(r.job.Src.Dev) {", new: "if true {",
		in: "./dispatch", tests: "Drift|Frozen",
	},
	{
		guard: "second look at what was zeroed",
		file:  "dispatch/run.go", old: "if len(zeroed) == 0 {", new: "if true {",
		in: "./dispatch", tests: "Zero",
	},
	{
		guard: "nothing but the planned extents",
		file:  "dispatch/offload.go", old: "b == nil || !b.covers(dst.Bytes(), length.Bytes())", new: "b == nil && !b.covers(dst.Bytes(), length.Bytes())",
		in: "./dispatch", tests: "Guard|Forbidden|Outside",
	},
	{
		guard: "proof",
		file:  "dispatch/offload.go", old: "	if !st.proven {\n		first", new: "	if st.proven = true; !st.proven {\n		first",
		in: "./dispatch", tests: "Proof",
	},
	{
		guard: "dirty pages written before",
		file:  "dispatch/dispatch.go", old: "if err := r.dropCaches(ctx); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "Dirty|Stale|Cache",
	},
	{
		guard: "stale pages dropped afterwards",
		file:  "dispatch/finish.go", old: "errs = append(errs, r.dropCaches(ctx))", new: "",
		in: "./dispatch", tests: "Dirty|Stale|Cache",
	},
	{
		guard: "flush of the leaves",
		file:  "dispatch/finish.go", old: "errs = append(errs, st.copier.Flush(ctx))", new: "_ = st",
		in: "./dispatch", tests: "Flush|Durab|Power",
	},
	{
		guard: "flush before the state is recorded",
		file:  "dispatch/ledger.go", old: "	if err := r.flush(ctx); err != nil {\n		return wrap(\"flush\", err)\n	}\n	return r.record()\n}\n\n// flush", new: "	return r.record()\n}\n\n// flush",
		in: "./dispatch", tests: "TestCrashAnywhere",
	},
	{
		guard: "samples of what was done, before it is relied on",
		file:  "dispatch/resume.go", old: "if err := r.recheck(ctx, done); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "Destination|Changed|Resume|Written",
	},
	{
		guard: "fence around a command of unknown fate",
		file:  "copydomain/blocks/ledger.go", old: "l.fences = append(l.fences, f)", new: "_ = f",
		in: "./copydomain/blocks", tests: ".",
	},
	{
		guard: "metadata snapshot of this transaction",
		file:  "snapshot/reader.go", old: "now.HeldRoot == h.root && now.Transaction == h.transaction", new: "now.HeldRoot == h.root",
		in: "./snapshot", tests: "Pool|Thin|Root|Transaction",
	},
	{
		guard: "devices that no anchor holds",
		file:  "dispatch/hold/anchor.go", old: "if err := a.holdable(chains); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./test/integration/live", tests: "TestAnchorOnArray|TestRequests", guest: true,
	},
	{
		guard: "probe of the anchor",
		file:  "dispatch/hold/anchor.go", old: "if !completed {", new: "if false {",
		in: "./test/integration/anchor", tests: ".", guest: true,
	},
	{
		guard: "reads in flight at each device",
		file:  "dispatch/hold/anchor.go", old: "if n < 1 {", new: "if n < 0 {",
		in: "./test/integration/anchor", tests: ".", guest: true,
	},
	{
		guard: "reads of the anchor",
		file:  "dispatch/hold/anchor.go", old: "d.ids, err = a.held.read(spans)", new: "d.ids = nil",
		in: "./test/integration/anchor", tests: "TestSuspend", guest: true,
	},
	{
		guard: "throttle of the anchor",
		file:  "dispatch/hold/anchor.go", old: "err = d.throttle()", new: "err = ctx.Err()",
		in: "./test/integration/anchor", tests: "TestSuspend", guest: true,
	},
	{
		guard: "lock of the volume group",
		file:  "dispatch/hold/hold.go", old: "lockGroups(ctx, h.locks, req.Groups, req.Deadline)", new: "lockGroups(ctx, h.locks, nil, req.Deadline)",
		in: "./test/integration/live", tests: "TestSnapshotOfDestination", guest: true,
	},
}
