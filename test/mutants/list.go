package main

// The guards, in the order of docs/evidence.md.
var mutants = []mutant{
	{
		guard: "legs of replicas that are not readable",
		file:  "internal/dispatch/plan/plan.go", old: "if leg.Readable {", new: "if leg.Readable || true {",
		in: "./dispatch", tests: "TestOffloadEqualsHost",
	},
	{
		guard: "layers: of an odd device nothing is believed",
		file:  "internal/sysblock/facts.go", old: "	case f.Unread != \"\":\n		return f.unreadLayer()\n", new: "",
		in: "./internal/sysblock", tests: "TestBadFiles",
	},
	{
		guard: "layers: an odd device is no reason not to see others",
		file:  "internal/layout/device.go", old: "	n = &Node{Facts: *facts}\n	n.mistrust(err)\n	return n, nil", new: "	_ = facts\n	return nil, err",
		in: "./internal/layout", tests: "TestOddAnswers",
	},
	{
		guard: "layers: what cannot be read is read again",
		file:  "internal/layout/reader.go", old: "if passes(n.Cause()) {", new: "if false {",
		in: "./internal/layout", tests: "TestGoneMeanwhile",
	},
	{
		guard: "layers: a look that fails is no look",
		file:  "internal/layout/changes.go", old: "c.What = \"cannot be read: \" + oneLine(err.Error())", new: "_ = c",
		in: "./internal/layout", tests: "TestChangesFail",
	},
	{
		guard: "layers: what may be made of the other end is refused",
		file:  "internal/dispatch/plan/survey.go", old: "case blind && upper.Dev != lower.Dev:", new: "case blind && upper.Dev == lower.Dev:",
		in: "./dispatch", tests: "TestOddAbove",
	},
	{
		guard: "layers: a device that was not read as a whole is copied through the kernel",
		file:  "internal/dispatch/plan/plan.go", old: "return p.Stack != nil && sectorAligned(r) && p.unread() == nil", new: "return p.Stack != nil && sectorAligned(r)",
		in: "./dispatch", tests: "TestOddDevice",
	},
	{
		guard: "in use: a command of LVM is waited for",
		file:  "internal/dispatch/ends/sharers.go", old: "	return max(sharerPatience, o.patience)", new: "	return sharerPatience",
		in: "./internal/dispatch/ends", tests: "TestSharedWithLVM",
	},
	{
		guard: "who is interrupted while an end is opened is not refused",
		file:  "internal/dispatch/ends/unopened.go", old: "errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)", new: "false",
		in: "./internal/dispatch/ends", tests: "TestOpenInterrupted",
	},
	{
		guard: "frozen: what was written meanwhile was not frozen",
		file:  "internal/dispatch/ends/freezesource.go", old: "if err == nil && now != w.before {", new: "if err == nil && now == 0 {",
		in: "./internal/dispatch/ends", tests: "TestUnwritten",
	},
	{
		guard: "layout: an end that was made smaller is told of",
		file:  "internal/dispatch/plan/plan.go", old: "has < had {", new: "has > had {",
		in: "./dispatch", tests: "TestShrunk",
	},
	{
		guard: "files: whose status has changed is compared",
		file:  "internal/dispatch/ends/fileends.go", old: "	changed, err := l.src.StatusChanged()\n	if !changed {", new: "	_, err := l.src.StatusChanged()\n	if true {",
		in: "./dispatch", tests: "TestSourceFileChanges",
	},
	{
		guard: "files: one that a destination is stored in keeps its name",
		file:  "internal/dispatch/ends/backing.go", old: "errors.Join(f.whole(), f.Named())", new: "f.whole()",
		in: "./dispatch", tests: "TestFileBelowDestination",
	},
	{
		guard: "files: nothing is written behind the end of one that a destination is stored in",
		file:  "internal/dispatch/ends/fileends.go", old: "	return wholeDevice{dst, l.dstBelow}", new: "	return dst",
		in: "./dispatch", tests: "TestFileBelowDestination",
	},
	{
		guard: "files: who has one open that a destination is stored in is told of",
		file:  "internal/dispatch/ends/sharers.go", old: "u.Kind == sysblock.Opened && u.Dev.IsZero()", new: "false",
		in: "./dispatch", tests: "TestFileBelowIsOpen",
	},
	{
		guard: "files: one that a source is stored in is looked at",
		file:  "internal/dispatch/ends/backing.go", old: "		changed, err := f.StatusChanged()\n		if changed {", new: "		_, err := f.StatusChanged()\n		if false {",
		in: "./dispatch", tests: "TestFileBelowSource",
	},
	{
		guard: "files: what is in the page cache of a source shows in what it is stored in",
		file:  "internal/dispatch/ends/fileends.go", old: "	return l.writeBack()", new: "	return nil",
		in: "./dispatch", tests: "TestFileBelowSource",
	},
	{
		guard: "files: one by two names is one",
		file:  "internal/dispatch/ends/refuse_ranges.go", old: "	if err := refuseAliases(src, dst); err != nil {\n		return nil, err\n	}\n", new: "",
		in: "./internal/dispatch/ends", tests: "TestAliases",
	},
	{
		guard: "files: what does not stand still may be any other one",
		file:  "internal/alias/alias.go", old: "	return true, nil\n}\n\n// own tells", new: "	return false, nil\n}\n\n// own tells",
		in: "./internal/alias", tests: "TestMayStirred",
	},
	{
		guard: "files: contents that an overlay shows are those of a layer, whatever the times",
		file:  "internal/dispatch/ends/aliases.go", old: "			if err := refuseUnderlying(s, d, name); err != nil {\n				return err\n			}\n", new: "",
		in: "./internal/dispatch/ends", tests: "TestMetadataOnly",
	},
	{
		guard: "users: by another name they are users",
		file:  "internal/sysblock/users.go", old: "	u.join(path, id)\n", new: "",
		in: "./internal/sysblock", tests: "TestUsersByAnotherName",
	},
	{
		guard: "users: who may write to a source by the end of its copy counts",
		file:  "internal/dispatch/ends/open.go", old: "	end.used = o.stillUnwritten\n", new: "",
		in: "./dispatch", tests: "TestSourceTaken",
	},
	{
		guard: "source: what it has gained is told of",
		file:  "dispatch/run.go", old: "	r.account.SourceGrown = grown", new: "	r.account.SourceGrown = 0 * grown",
		in: "./dispatch", tests: "TestSourceGrows",
	},
	{
		guard: "holes: data behind which the kernel cannot search is no hole",
		file:  "internal/blockio/holes.go", old: "	if off >= seekable {\n		return f.unsearched(off)\n	}\n", new: "",
		in: "./internal/blockio", tests: "TestHole",
	},
	{
		guard: "verification: the end of each range is among the samples",
		file:  "dispatch/verify.go", old: "			if !yield(g.Part(last, g.Len)) {", new: "			if !yield(g.Part(last, g.Len-1)) {",
		in: "./dispatch", tests: "TestSamples",
	},
	{
		guard: "layers: an array between two geometries has its own size",
		file:  "internal/layout/device.go", old: "&& !n.DM.SizesItself() {", new: "{",
		in: "./internal/layout", tests: "TestGrowingReshape",
	},
	{
		guard: "layers: who is suspended for a moment is waited for",
		file:  "internal/dispatch/ends/open.go", old: "case time.Now().After(deadline):\n			return o.suspendedRefusal(f)", new: "case !deadline.IsZero():\n			return o.suspendedRefusal(f)",
		in: "./internal/dispatch/ends", tests: "TestOpenWaits",
	},
	{
		guard: "layers: members that are being rebuilt are not read",
		file:  "dmtable/raidstatus.go", old: "		if s.health[i] == raidSyncing {\n			return false", new: "		if s.health[i] == raidSyncing {\n			return s.synced && s.quiet",
		in: "./dmtable", tests: "TestVectors",
	},
	{
		guard: "layers: behind the last whole chunk of an array is nothing",
		file:  "dmtable/raid.go", old: "	if off >= size {\n		return noPlace(\"dm:raid\", reasonRaidTail, n)\n	}\n", new: "	size = max(size, off+n)\n",
		in: "./dmtable", tests: "TestVectors",
	},
	{
		guard: "layers: a disk that is gone is said to be gone",
		file:  "internal/dispatch/offload/held.go", old: "if o.layout.OnlyGone(moved, steps.Through()) {", new: "if o.layout.OnlyGone(nil, steps.Through()) {",
		in: "./dispatch", tests: "TestDiskGone",
	},
	{
		guard: "layers: what is under way for good was not copied",
		file:  "internal/dispatch/offload/issue.go", old: "			take(f, func(plan.Step) {})\n", new: "			_ = f\n",
		in: "./dispatch", tests: "TestLostCompletion",
	},
	{
		guard: "layers: nothing is copied through what a file system bypasses",
		file:  "internal/dispatch/plan/survey.go", old: "		if s.wrongThrough() {\n			through = s.bypassed", new: "		if s.wrongThrough() && s.Len == 0 {\n			through = s.bypassed",
		in: "./dispatch", tests: "TestBypassed",
	},
	{
		guard: "layers: a failed command is not made up for through what a file system bypasses",
		file:  "dispatch/window.go", old: "	if err := plan.MayPass(steps); err != nil {", new: "	if err := plan.MayPass(steps[:0]); err != nil {",
		in: "./dispatch", tests: "TestBypassedFails",
	},
	{
		guard: "layers: a file is no way past what a file system bypasses",
		file:  "internal/dispatch/plan/bypass.go", old: "	if p.Stack != nil {\n		return nil\n	}\n	for _, end", new: "	if p.Plan != nil {\n		return nil\n	}\n	for _, end",
		in: "./dispatch", tests: "TestBypassedBelow",
	},
	{
		guard: "overlap below",
		file:  "internal/dispatch/plan/survey.go", old: "if !shared.any() {", new: "if true {",
		in: "./dispatch", tests: "TestSharedBlocks|TestTwiceBelow",
	},
	{
		guard: "equal ciphers",
		file:  "internal/dispatch/plan/plan.go", old: "cipher := remap.SameCipher(src, dst)", new: "cipher := src.Kind == remap.Cipher && dst.Kind == remap.Cipher",
		in: "./dispatch", tests: "TestCiphertext",
	},
	{
		guard: "hold",
		file:  "internal/dispatch/offload/offload.go", old: "held, err := o.holder.Hold(ctx, steps.Request(o.layout.Plan().Stack, min(holdWait, o.opts.Patience)))", new: "held, err := o.holder.Hold(ctx, hold.Request{})",
		in: "./dispatch", tests: "TestHoldUnavailable|TestMoves|TestSwapWaits",
	},
	{
		guard: "hold still on after the commands",
		file:  "internal/dispatch/offload/held.go", old: "errors.Join(stopExtending(), held.Check())", new: "stopExtending()",
		in: "./dispatch", tests: "TestHoldLost",
	},
	{
		guard: "no command when the hold is about to end",
		file:  "internal/dispatch/offload/pair.go", old: "NotAfter: st.notAfter,", new: "NotAfter: nil,",
		in: "./dispatch", tests: "TestStopped|TestStoppedInEveryKind",
	},
	{
		guard: "clock right before the system call",
		file:  "internal/boottime/syscall.go", old: "if until != Forever {", new: "if until == 0 {",
		in: "./copydomain/nvme", tests: "TestFileIsTooLate",
	},
	{
		guard: "hold still on between the comparison and the first command",
		file:  "internal/dispatch/offload/held.go", old: "if err := held.Check(); err != nil {\n		o.log.Info(\"the hold ended before", new: "if err := error(nil); err != nil {\n		o.log.Info(\"the hold ended before",
		in: "./dispatch", tests: "TestHoldLost",
	},
	{
		guard: "what was not begun in time is planned again",
		file:  "internal/dispatch/offload/deadline.go", old: "return proven && !o.opts.InOrder", new: "return false",
		in: "./dispatch", tests: "TestStopped",
	},
	{
		guard: "answers that came while nobody was there to take them",
		file:  "copydomain/blocks/issuer.go", old: "if len(b.flying) > 0 && now.Sub(b.flying[0].deadline) > stalled {", new: "if false {",
		in: "./copydomain/blocks", tests: "TestIssueWhileStopped",
	},
	{
		guard: "hold extended for slow commands",
		file:  "internal/dispatch/offload/underway.go", old: "if err := held.Extend(); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "TestSlowCommand",
	},
	{
		guard: "comparison before the commands",
		file:  "internal/dispatch/offload/held.go", old: "if err != nil || len(changed) > 0 {", new: "if err != nil {",
		in: "./dispatch", tests: "TestMoves|TestMovesLower",
	},
	{
		guard: "comparison after the commands",
		file:  "internal/dispatch/offload/held.go", old: "moved := remap.Moved(slices.Concat(seen, changed))", new: "moved := remap.Moved(slices.Concat(seen, changed)[:0])",
		in: "./dispatch", tests: "TestUnsafeSwap",
	},
	{
		guard: "what was seen while commands were under way",
		file:  "internal/dispatch/offload/held.go", old: "seen = stopWatching()", new: "seen = stopWatching()[:0]",
		in: "./dispatch", tests: "TestThereAndBack",
	},
	{
		guard: "what was not begun is left to be copied",
		file:  "dispatch/windows.go", old: "rest = slices.Concat(unbegun, byterange.Skip(rest, done))", new: "rest = slices.Concat(unbegun[:0], byterange.Skip(rest, done))",
		in: "./dispatch", tests: "TestNewsOfSource",
	},
	{
		guard: "what was not begun is not said to be done",
		file:  "internal/dispatch/window/offload.go", old: "o[key] = plan.Without(o[key], unbegun)", new: "o[key] = plan.Without(o[key], nil)",
		in: "./dispatch", tests: "TestNewsOfSource",
	},
	{
		guard: "zones are written to their end",
		file:  "internal/dispatch/offload/underway.go", old: "if o.opts.InOrder {", new: "if false {",
		in: "./internal/dispatch/offload", tests: "TestInOrderIsNotCut",
	},
	{
		guard: "a destination that changed below commands is told of",
		file:  "internal/dispatch/offload/held.go", old: "if i < 0 || lost == nil && o.stillThere(ctx, held, steps) {", new: "if true {",
		in: "./dispatch", tests: "TestUnsafeSwap",
	},
	{
		guard: "where the destination lay is known only while the hold is on",
		file:  "internal/dispatch/offload/held.go", old: "return held.Check() == nil", new: "return true",
		in: "./dispatch", tests: "TestNoVerdictWithoutHold",
	},
	{
		guard: "a trusted destination gets no second chance",
		file:  "internal/dispatch/offload/held.go", old: "if o.opts.Hold != hold.Auto {", new: "if false {",
		in: "./dispatch", tests: "TestSwapToTheSamePlace",
	},
	{
		guard: "what is done is shown when the destination is moved",
		file:  "dispatch/review.go", old: "if len(suspects) == 0 {", new: "if true {",
		in: "./dispatch", tests: "TestLeavesWithoutData",
	},
	{
		guard: "a move after the last window",
		file:  "dispatch/run.go", old: "if again, _, err := r.windows.lookAgain(ctx); err != nil || len(again) > 0 {", new: "if again, err := []byterange.Range(nil), error(nil); err != nil || len(again) > 0 {",
		in: "./dispatch", tests: "TestLeavesAtTheEnd",
	},
	{
		guard: "a move during the verification",
		file:  "dispatch/run.go", old: "again, moved, err := r.windows.lookAgain(ctx)", new: "again, moved, err := []byterange.Range(nil), false, error(nil)",
		in: "./dispatch", tests: "TestLeavesAtTheEnd",
	},
	{
		guard: "a destination that was elsewhere and is back",
		file:  "dispatch/review.go", old: "heard := r.layout.HasNews()", new: "heard := false",
		in: "./dispatch", tests: "TestLeavesAndReturns",
	},
	{
		guard: "all of what another layer keeps is compared",
		file:  "internal/dispatch/plan/places.go", old: "if d.Relayered {", new: "if false {",
		in: "./dispatch", tests: "TestLayerTakenAway",
	},
	{
		guard: "a destination that comes to lie on its source",
		file:  "dispatch/windows.go", old: "if len(again) == 0 && len(moved) > 0 {", new: "if false {",
		in: "./dispatch", tests: "TestMovesOntoSource",
	},
	{
		guard: "a source that was thawed shows nothing",
		file:  "dispatch/review.go", old: "if r.source.thawed() {", new: "if false {",
		in: "./dispatch", tests: "TestLeavesAfterThaw",
	},
	{
		guard: "zones are not written again",
		file:  "dispatch/review.go", old: "if r.zones.Any() {", new: "if false {",
		in: "./dispatch", tests: "TestZonesAreLost",
	},
	{
		guard: "the state says nothing of what was moved",
		file:  "internal/dispatch/record/record.go", old: "if len(recorded) == 0 {", new: "if true {",
		in: "./dispatch", tests: "TestStateOfMoved",
	},
	{
		guard: "what is flushed is where it was written, before it is recorded",
		file:  "dispatch/destination.go", old: "if err == nil && !still {\n		err = errReplan", new: "if err == nil && !still && false {\n		err = errReplan",
		in: "./dispatch", tests: "TestLeavesAndReturns",
	},
	{
		guard: "legs of a mirror that were not read hold nothing",
		file:  "remap/displaced.go", old: "return w.Readable && p.sameLeg(w, l)", new: "return p.sameLeg(w, l)",
		in: "./remap", tests: "TestDisplaced",
	},
	{
		guard: "what is not understood rests on what stays",
		file:  "remap/displaced.go", old: "&& p.keeps(was.Leg.Dev)", new: "",
		in: "./remap", tests: "TestDisplaced",
	},
	{
		guard: "second look at sources that drift",
		file:  "dispatch/window.go", old: "if !w.layout.Plan().Stack.Drifts(w.job.Src.Dev) {", new: "if true {",
		in: "./dispatch", tests: "TestDrifts",
	},
	{
		guard: "second look at what was zeroed",
		file:  "dispatch/window.go", old: "if len(zeroed) == 0 {", new: "if true {",
		in: "./dispatch", tests: "TestZeroSourceSwapped",
	},
	{
		guard: "second look at what was left alone",
		file:  "dispatch/window.go", old: "s.Method == account.Zero || s.Method == account.Skip", new: "s.Method == account.Zero",
		in: "./dispatch", tests: "TestSkippedInVain",
	},
	{
		guard: "only whole blocks are left alone",
		file:  "internal/dispatch/plan/zeroes.go", old: "{head + body, whole.Len - head - body, account.Zero}", new: "{head + body, whole.Len - head - body, account.Skip}",
		in: "./dispatch", tests: "TestThinPartOfABlock",
	},
	{
		guard: "external origins are not zeroes",
		file:  "dmtable/thin.go", old: "if !m.external && m.begin%size == 0 {", new: "if m.begin%size == 0 {",
		in: "./dmtable", tests: "TestVectors",
	},
	{
		guard: "zeroes below a cipher are none",
		file:  "remap/resolve.go", old: "if plain && p.Kind == Opaque {", new: "if plain || p.Kind == Opaque {",
		in: "./dispatch", tests: "TestThinBelowCipher",
	},
	{
		guard: "thin volumes as they are now",
		file:  "dispatch/run.go", old: "if !r.job.Src.Dev.IsZero() && !r.job.Dst.Dev.IsZero() {", new: "if false {",
		in: "./dispatch", tests: "TestThinStaysThin",
	},
	{
		guard: "no holes within a file",
		file:  "internal/dispatch/plan/zeroes.go", old: "return p.src.Holes != nil && p.src.Device.ID() != p.Dst.Device.ID()", new: "return p.src.Holes != nil",
		in: "./dispatch", tests: "TestHolesWithinAFile",
	},
	{
		guard: "nothing but the planned extents",
		file:  "internal/dispatch/offload/pair.go", old: "b == nil || !b.Covers(dst.Bytes(), length.Bytes())", new: "b == nil && length == 0",
		in: "./dispatch", tests: "TestGuard",
	},
	{
		guard: "last look at an NVMe command",
		file:  "copydomain/nvmecopy.go", old: "return c.opt.Allowed(", new: "return error(nil)\n	return c.opt.Allowed(",
		in: "./dispatch", tests: "TestNoKindStrays",
	},
	{
		guard: "last look at a SCSI command",
		file:  "copydomain/scsicopy.go", old: "remap.Sector(s.Blocks)*c.unit); err != nil {", new: "remap.Sector(s.Blocks)*c.unit); false && err != nil {",
		in: "./dispatch", tests: "TestNoKindStrays",
	},
	{
		guard: "proof",
		file:  "internal/dispatch/offload/issue.go", old: "	if o.prover.Due(key) {\n		first", new: "	if false {\n		first",
		in: "./dispatch", tests: "TestProof|TestProofWhereEqual",
	},
	{
		guard: "mark where source and destination are equal",
		file:  "internal/dispatch/proof/proof.go", old: "err = v.mark(ctx, b, sample)", new: "err = nil",
		in: "./dispatch", tests: "TestProofTells",
	},
	{
		guard: "a mark that is gone proves nothing",
		file:  "internal/dispatch/proof/proof.go", old: "	equal, err := v.same(ctx, src, dst, sample)\n	if err == nil && equal {\n		err = ErrUntold", new: "	equal, err := v.same(ctx, src, dst, sample)\n	if false && equal {\n		err = ErrUntold",
		in: "./dispatch", tests: "TestMarkUndone",
	},
	{
		guard: "a mark is taken back",
		file:  "dispatch/run.go", old: "r.windows.prover.Unmark(context.WithoutCancel(ctx), r.layout.Changes, err)", new: "",
		in: "./dispatch", tests: "TestMarkTakenBack",
	},
	{
		guard: "a mark behind a fence is not",
		file:  "internal/dispatch/proof/mark.go", old: "if !errors.Is(ended, failure.ErrFenced) {", new: "if true {",
		in: "./dispatch", tests: "TestMarkBehindFence",
	},
	{
		guard: "zeroes that arrive do not tell where they were read",
		file:  "internal/dispatch/proof/proof.go", old: "p.sure || p.unlike", new: "true",
		in: "./dispatch", tests: "TestProofLooksForMore",
	},
	{
		guard: "write pointers that have passed by the sample",
		file:  "internal/dispatch/proof/proof.go", old: "return pointer == at+sample.Len.Bytes(), err", new: "return pointer >= at, err",
		in: "./internal/dispatch/proof", tests: "TestZonesProve",
	},
	{
		guard: "dirty pages written before",
		file:  "dispatch/run.go", old: "if err := r.caches.drop(ctx); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "TestDirtySource|TestDirtyDestination",
	},
	{
		guard: "dirty pages of what a copy to a file lies on",
		file:  "dispatch/caches.go", old: "	if p.Layout == nil {", new: "	if p.Layout == nil || p.Mixed() && p.Dst.File != nil {",
		in: "./dispatch", tests: "TestDirtyParent",
	},
	{
		guard: "stale pages dropped afterwards",
		file:  "dispatch/destination.go", old: "d.stillUnused(ctx), d.caches.dropStale(ctx))", new: "d.stillUnused(ctx))",
		in: "./dispatch", tests: "TestStaleCache|TestStaleMappings",
	},
	{
		guard: "flush before the state is recorded",
		file:  "dispatch/destination.go", old: "	if err := d.flush(ctx); err != nil {\n		return failure.During(\"flush\", err)\n	}\n	if err := d.standing", new: "	if err := d.standing",
		in: "./dispatch", tests: "TestCrashAnywhere",
	},
	{
		guard: "unstriped lines that kernels map in two ways",
		file:  "dmtable/unstriped.go", old: "if t.Start != 0 {", new: "if false {",
		in: "./dmtable", tests: "TestVectors",
	},
	{
		guard: "progress is told by who carried the command out",
		file:  "copydomain/nvme/status.go", old: "return sct == 1 || sct == 2", new: "return sct <= 2",
		in: "./copydomain/nvme", tests: "TestJudgeProgress",
	},
	{
		guard: "fence around a command of unknown fate",
		file:  "copydomain/blocks/ledger.go", old: "l.fences = append(l.fences, f)", new: "_ = f",
		in: "./copydomain/blocks", tests: "TestFence",
	},
	{
		guard: "metadata snapshot of this transaction",
		file:  "internal/layout/reader.go", old: "now.HeldRoot == h.root && now.Transaction == h.transaction", new: "now.HeldRoot == h.root",
		in: "./internal/layout", tests: "TestRootFollowsTransaction",
	},
	{
		guard: "devices that no anchor holds",
		file:  "internal/dispatch/hold/anchor.go", old: "if err := a.holdable(chains); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/dispatch/hold", tests: "TestNoAnchorOnWhatDoesNotWait",
	},
	{
		guard: "proof that an anchor is in flight",
		file:  "internal/dispatch/hold/anchor.go", old: "	if !completed {\n		return fmt.Errorf(\"a read does not come back: %w\", ErrContended)\n	}\n	if err := a.checkInFlight(set); err != nil {\n		return err // it was not throttled, or the machine is very busy\n	}\n	if err := a.checkCounted(set, chains); err != nil {\n		return err\n	}\n", new: "	_ = completed\n",
		in: "./test/integration/anchor", tests: "TestSuspendUnderWay", guest: true,
	},
	{
		guard: "probe of the anchor",
		file:  "internal/dispatch/hold/anchor.go", old: "if !completed {", new: "if !completed && false {",
		in: "./internal/dispatch/hold", tests: "TestProbe",
	},
	{
		guard: "a read more in flight at each device than before",
		file:  "internal/dispatch/hold/anchor.go", old: "if n <= set.before[node] {", new: "if n < 1 {",
		in: "./internal/dispatch/hold", tests: "TestCounted",
	},
	{
		guard: "reads of the anchor",
		file:  "internal/dispatch/hold/anchor.go", old: "if r.id, err = a.kernel.read(r.group, s); err != nil {", new: "if _ = s; err != nil {",
		in: "./test/integration/anchor", tests: "TestSuspendWaitsForRelease", guest: true,
	},
	{
		guard: "throttle of the anchor",
		file:  "internal/dispatch/hold/anchor.go", old: "if err := a.setRate(r, rateFor(r.left, a.expiry())); err != nil {", new: "if r.rate = 1; err != nil {",
		in: "./test/integration/anchor", tests: "TestSuspendWaitsForRelease", guest: true,
	},
	{
		guard: "an anchor that is queued has no limit",
		file:  "internal/dispatch/hold/anchor.go", old: "if err := a.unthrottle(set); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/dispatch/hold", tests: "TestQueuedHoldsNothing",
	},
	{
		guard: "the last anchor was in flight until the next one was",
		file:  "internal/dispatch/hold/held.go", old: "\terr = h.Check()\n", new: "\terr = nil\n",
		in: "./internal/dispatch/hold", tests: "TestRenewalNeedsTheLast",
	},
	{
		guard: "the deadline of a hold never comes nearer",
		file:  "internal/dispatch/hold/held.go", old: "sooner := next.deadline() < h.Deadline();", new: "sooner := false;",
		in: "./internal/dispatch/hold", tests: "TestAnchorProperties",
	},
	{
		guard: "what the throttle rounds up",
		file:  "internal/dispatch/hold/meter.go", old: "/m.rate) - slack)", new: "/m.rate))",
		in: "./internal/dispatch/hold", tests: "TestAnchorProperties",
	},
	{
		guard: "what passes while a limit is set",
		file:  "internal/dispatch/hold/anchor.go", old: "rate: rate, since: before}", new: "rate: rate, since: a.kernel.now() + before - before}",
		in: "./internal/dispatch/hold", tests: "TestLateAnywhere",
	},
	{
		guard: "what is left of an anchor lasts for minutes",
		file:  "internal/dispatch/hold/meter.go", old: "if left <= reserve {", new: "if left < 0 {",
		in: "./internal/dispatch/hold", tests: "TestHoldWithWaiter",
	},
	{
		guard: "slow is not contended",
		file:  "internal/dispatch/hold/probing.go", old: "p.latency = max(now.Sub(p.since), 1)", new: "p.latency = 1",
		in: "./internal/dispatch/hold", tests: "TestSlowIsNotContended",
	},
	{
		guard: "groups that may hold something are not removed",
		file:  "internal/dispatch/hold/cgroup.go", old: "return err == nil && len(limits) == 0 || made.ModTime().Before(before)", new: "return err == nil || len(limits) == 0 || made.ModTime().Before(before)",
		in: "./internal/dispatch/hold", tests: "TestRemoveStale",
	},
	{
		guard: "what is left behind is let go after an expiry",
		file:  "internal/dispatch/hold/cleanup.go", old: "if time.Since(began) > expiry {", new: "if time.Since(began) >= 0 {",
		in: "./internal/dispatch/hold", tests: "TestCleanUp",
	},
	{
		guard: "a cgroup for each read of the anchor",
		file:  "internal/dispatch/hold/anchor.go", old: "group, err := a.kernel.newGroup()\n", new: "group, err := a.kernel.newGroup()\n\t\tif i > 0 {\n\t\t\tgroup = set.reads[0].group\n\t\t}\n",
		in: "./internal/dispatch/hold", tests: "TestRenewal",
	},
	{
		guard: "how often an anchor is submitted that ends early",
		file:  "internal/dispatch/hold/anchor.go", old: "switch again := try < holdTries; {", new: "switch again := try < 2*holdTries; {",
		in: "./internal/dispatch/hold", tests: "TestUnthrottled|TestTriesAgain",
	},
	{
		guard: "an anchor that ends early on a busy machine is submitted again",
		file:  "internal/dispatch/hold/anchor.go", old: "case !again || !errors.Is(err, ErrLost) && !errors.Is(err, errUncounted):", new: "case !again || !errors.Is(err, errUncounted):",
		in: "./internal/dispatch/hold", tests: "TestTriesAgain",
	},
	{
		guard: "what is not throttled is nobody's fault",
		file:  "internal/dispatch/hold/anchor.go", old: "return nil, errors.Join(err, ErrUnavailable)\n\t\tcase !again", new: "return nil, errors.Join(err, ErrContended)\n\t\tcase !again",
		in: "./internal/dispatch/hold", tests: "TestUnthrottled",
	},
	{
		guard: "ways that are too many",
		file:  "internal/dispatch/hold/anchor.go", old: "if len(chains) > maxWays {", new: "if len(chains) > 10*maxWays {",
		in: "./internal/dispatch/hold", tests: "TestTooManyWays",
	},
	{
		guard: "the first limit of a disk before the first command",
		file:  "internal/dispatch/hold/anchor.go", old: "if err := a.kernel.initThrottle(leaf, maxLatency); err != nil {", new: "if err := error(nil); err != nil && leaf.Major > 0 {",
		in: "./internal/dispatch/hold", tests: "TestUnavailable",
	},
	{
		guard: "an anchor is in flight when it is said to be",
		file:  "internal/dispatch/hold/anchor.go", old: "\treturn a.checkInFlight(set)\n", new: "\treturn nil\n",
		in: "./internal/dispatch/hold", tests: "TestTriesAgain",
	},
	{
		guard: "an anchor that ended early is not taken for one that is queued",
		file:  "internal/dispatch/hold/anchor.go", old: "return err // it was not throttled, or the machine is very busy", new: "_ = err",
		in: "./internal/dispatch/hold", tests: "TestUnthrottled",
	},
	{
		guard: "a read that has ended holds nothing",
		file:  "internal/dispatch/hold/anchor.go", old: "err = errExpired", new: "err = nil",
		in: "./internal/dispatch/hold", tests: "TestManyWaysOverOneDisk",
	},
	{
		guard: "groups of reads in flight stay",
		file:  "internal/dispatch/hold/anchor.go", old: "if r.id >= 0 {\n\t\t\treturn false", new: "if false {\n\t\t\treturn false",
		in: "./internal/dispatch/hold", tests: "TestQueuedHoldsNothing",
	},
	{
		guard: "an anchor holds until the first of its reads ends",
		file:  "internal/dispatch/hold/anchor.go", old: "earliest = min(earliest, r.deadline())", new: "earliest = r.deadline()",
		in: "./internal/dispatch/hold", tests: "TestEarliest",
	},
	{
		guard: "the device is the one meant",
		file:  "internal/dispatch/hold/anchor.go", old: "&& unix.Minor(st.Rdev) == dev.Minor", new: "",
		in: "./internal/dispatch/hold", tests: "TestIsNode",
	},
	{
		guard: "every device has a read through it",
		file:  "internal/dispatch/hold/chains.go", old: "func(d remap.Dev) bool { return !held[d] }", new: "func(d remap.Dev) bool { return len(held) == 0 }",
		in: "./internal/dispatch/hold", tests: "TestCover",
	},
	{
		guard: "the deadline of a hold is never taken back",
		file:  "internal/dispatch/hold/held.go", old: "h.until.Store(max(h.until.Load(), int64(until)))", new: "h.until.Store(int64(until))",
		in: "./internal/dispatch/hold", tests: "TestNeverNearer",
	},
	{
		guard: "no hold is said to last longer than an expiry",
		file:  "internal/dispatch/hold/held.go", old: "until := min(h.current.deadline(), h.anchor.kernel.now().Add(h.anchor.expiry()))", new: "until := h.current.deadline()",
		in: "./internal/dispatch/hold", tests: "TestExtendedWithWaiter|TestWaiterGivesUp",
	},
	{
		guard: "a hold that is short lasts while the next one is made",
		file:  "internal/dispatch/hold/held.go", old: "if !h.lastsFor(whole / 2) {", new: "if false {",
		in: "./internal/dispatch/hold", tests: "TestHoldWithWaiter",
	},
	{
		guard: "a hold is renewed while enough is left of it to last for minutes",
		file:  "internal/dispatch/hold/held.go", old: "r.rate > minRate && r.withheld(now.Add(expiry/2)) < reserve/2", new: "false",
		in: "./internal/dispatch/hold", tests: "TestHoldWithWaiter",
	},
	{
		guard: "a hold that cannot be renewed lasts",
		file:  "internal/dispatch/hold/held.go", old: "\t\th.slowDown()\n\t\treturn h.Check()", new: "\t\treturn h.Check()",
		in: "./internal/dispatch/hold", tests: "TestExtendedWithWaiter",
	},
	{
		guard: "nobody keeps a renewal waiting",
		file:  "internal/dispatch/hold/held.go", old: "if !completed {", new: "if !completed && false {",
		in: "./internal/dispatch/hold", tests: "TestHoldWithWaiter",
	},
	{
		guard: "one probe at a time",
		file:  "internal/dispatch/hold/probing.go", old: "if a.probing.pending() {\n\t\tif err := a.pollProbe(0)", new: "if false {\n\t\tif err := a.pollProbe(0)",
		in: "./internal/dispatch/hold", tests: "TestHoldWithWaiter",
	},
	{
		guard: "too slow to be held",
		file:  "internal/dispatch/hold/probing.go", old: "if p.latency > maxLatency {", new: "if false {",
		in: "./internal/dispatch/hold", tests: "TestSlowIsNotContended",
	},
	{
		guard: "a probe that nobody looked for measures nothing",
		file:  "internal/dispatch/hold/probing.go", old: "case unseen > probeStep:", new: "case unseen > maxLatency*1000000:",
		in: "./internal/dispatch/hold", tests: "TestSuspendedIsContended",
	},
	{
		guard: "who suspends is not waited for long",
		file:  "internal/dispatch/hold/probing.go", old: "case waited >= wait && a.anySuspended(chains), waited >= maxLatency:", new: "case waited >= 10*maxLatency:",
		in: "./internal/dispatch/hold", tests: "TestSuspendedIsContended",
	},
	{
		guard: "a step of the throttle's clock",
		file:  "internal/dispatch/hold/meter.go", old: "(int64(now.Sub(m.since)+tick)*m.rate", new: "(int64(now.Sub(m.since))*m.rate",
		in: "./internal/dispatch/hold", tests: "TestManyRates",
	},
	{
		guard: "the lowest limit that every kernel takes",
		file:  "internal/dispatch/hold/meter.go", old: "minRate = 2\n", new: "minRate = 1\n",
		in: "./internal/dispatch/hold", tests: "TestHoldWithWaiter",
	},
	{
		guard: "a reply that comes too late is not the next one",
		file:  "internal/dispatch/hold/client.go", old: "if h.broken != nil {", new: "if false {",
		in: "./internal/dispatch/hold", tests: "TestLateReply",
	},
	{
		guard: "each read is begun in its own group",
		file:  "internal/dispatch/hold/kernel.go", old: "if err := s.enter(group); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/dispatch/hold", tests: "TestReaderMoves",
	},
	{
		guard: "the group that the reader is in is not removed",
		file:  "internal/dispatch/hold/kernel.go", old: "if group == s.readerGroup {\n\t\ts.removeLeft = true\n\t\treturn nil", new: "if false {\n\t\ts.removeLeft = true\n\t\treturn nil",
		in: "./internal/dispatch/hold", tests: "TestReaderMoves",
	},
	{
		guard: "requests pass the throttle",
		file:  "internal/dispatch/hold/holdable.go", old: "if err == nil && requests {", new: "if err == nil && requests && false {",
		in: "./internal/dispatch/hold", tests: "TestHoldable",
	},
	{
		guard: "arrays of old kernels do not wait",
		file:  "internal/dispatch/hold/holdable.go", old: "if err2 == nil && array && s.version.before(arraysWait) {", new: "if err2 == nil && array && false {",
		in: "./internal/dispatch/hold", tests: "TestHoldable",
	},
	{
		guard: "LVM commands that wait go first",
		file:  "internal/dispatch/hold/lvmlock.go", old: "aux, err := flock(path+\":aux\", unix.LOCK_EX)", new: "aux, err := flock(path, unix.LOCK_SH)",
		in: "./internal/dispatch/hold", tests: "TestLockGroupLetsWriterFirst",
	},
	{
		guard: "the lock of a volume group has its name still",
		file:  "internal/dispatch/hold/lvmlock.go", old: "return err == nil && os.SameFile(locked, named), nil", new: "return err == nil && locked != named, nil",
		in: "./internal/dispatch/hold", tests: "TestLockNamed",
	},
	{
		guard: "groups with limits are left alone at first",
		file:  "internal/dispatch/hold/cleanup.go", old: "case len(limits) > 0:", new: "case len(limits) < 0:",
		in: "./internal/dispatch/hold", tests: "TestCleanUp",
	},
	{
		guard: "groups of other anchors are left alone",
		file:  "internal/dispatch/hold/cgroup.go", old: "return !strings.HasPrefix(filepath.Base(dir), cgroupPrefix+g.owner+\"-\")", new: "return false",
		in: "./internal/dispatch/hold", tests: "TestCgroupsOfOneProcess",
	},
	{
		guard: "groups of living processes are left alone",
		file:  "internal/dispatch/hold/cgroup.go", old: "errors.Is(unix.Kill(pid, 0), unix.ESRCH)", new: "pid > 0",
		in: "./internal/dispatch/hold", tests: "TestRemoveStale",
	},
	{
		guard: "the io controller of others stays on",
		file:  "internal/dispatch/hold/cgroup.go", old: "if !ours && !g.enabled", new: "if !ours && !g.enabled && false",
		in: "./internal/dispatch/hold", tests: "TestCgroupLeavesOthersAlone",
	},
	{
		guard: "only what cannot be swapped needs no hold",
		file:  "internal/dispatch/hold/hold.go", old: "if !needsHold(req) {", new: "if needsHold(req) {",
		in: "./internal/dispatch/hold", tests: "TestHolder",
	},
	{
		guard: "no command at the moment itself",
		file:  "internal/boottime/boottime.go", old: "until != Forever && now >= until", new: "until != Forever && now > until",
		in: "./internal/boottime", tests: "TestLimit",
	},
	{
		guard: "no system call when it is too late",
		file:  "internal/boottime/syscall.go", old: ">= int64(until)", new: ">= int64(Forever)",
		in: "./internal/boottime", tests: "TestSyscall",
	},
	{
		guard: "a second is left of the hold for each command",
		file:  "internal/dispatch/offload/deadline.go", old: "held.Deadline().Add(-spare)", new: "held.Deadline()",
		in: "./internal/dispatch/offload", tests: "TestNotAfter",
	},
	{
		guard: "nothing is begun without a batch",
		file:  "internal/dispatch/offload/pair.go", old: "return 0\n", new: "return boottime.Forever\n",
		in: "./internal/dispatch/offload", tests: "TestNotAfter",
	},
	{
		guard: "what was not begun in zones goes through the host",
		file:  "internal/dispatch/offload/deadline.go", old: "&& !o.opts.InOrder\n", new: "\n",
		in: "./internal/dispatch/offload", tests: "TestUnbegun",
	},
	{
		guard: "what was not begun of a pair that is not proven goes through the host",
		file:  "internal/dispatch/offload/deadline.go", old: "return proven &&", new: "return",
		in: "./internal/dispatch/offload", tests: "TestUnbegun",
	},
	{
		guard: "losses of a destination that moves on and on",
		file:  "internal/dispatch/record/suspect.go", old: "r.losses > maxLosses", new: "r.losses > 10*maxLosses",
		in: "./dispatch", tests: "TestLeavesForGood",
	},
	{
		guard: "what was slowed down is renewed when nobody waits any more",
		file:  "internal/dispatch/hold/held.go", old: "&& !h.lastsFor(whole*3/2) {", new: "{",
		in: "./internal/dispatch/hold", tests: "TestWaiterGivesUp",
	},
	{
		guard: "lock of the volume group",
		file:  "internal/dispatch/hold/hold.go", old: "lockGroups(ctx, h.locks, req.Groups, req.Deadline)", new: "lockGroups(ctx, h.locks, nil, req.Deadline)",
		in: "./internal/dispatch/hold", tests: "TestHoldTakesTheGroup",
	},
	{
		guard: "state: flush of the destination before the entry",
		file:  "dispatch/destination.go", old: "errors.Join(d.job.Dst.Device.Flush(), d.offload.Flush(ctx)", new: "errors.Join(d.offload.Flush(ctx)",
		in: "./dispatch", tests: "TestCrashAnywhere",
	},
	{
		guard: "flush of the leaves",
		file:  "internal/dispatch/offload/offload.go", old: "if err := st.copier.Flush(ctx); err != nil {", new: "if err := error(nil); st == nil {",
		in: "./dispatch", tests: "TestFlushFails",
	},
	{
		guard: "state: nothing is entered after a flush that failed",
		file:  "dispatch/destination.go", old: "	if err != nil {\n		d.record.Drop()\n	}\n", new: "",
		in: "./dispatch", tests: "TestFlushFailedOnce",
	},
	{
		guard: "state: only what is done is left out",
		file:  "dispatch/resume.go", old: "if e.Status == journal.Done {", new: "if true {",
		in: "./dispatch", tests: "TestReadAgain",
	},
	{
		guard: "state: samples of what was done, before it is relied on",
		file:  "dispatch/resume.go", old: "if err := r.recheck(ctx, done); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "TestDestinationChanged",
	},
	{
		guard: "state: samples of the source",
		file:  "internal/journal/file.go", old: "if n := differing(s.Samples, samples); n > 0 {", new: "if n := differing(s.Samples, samples); n > len(samples) {",
		in: "./dispatch", tests: "TestSourceChanged",
	},
	{
		guard: "state: the same copy",
		file:  "internal/journal/file.go", old: "points := f.state.Plan.compare(plan)", new: "points := f.state.Plan.compare(f.state.Plan)",
		in: "./cmd/dmcopy", tests: "TestResumeRefused",
	},
	{
		guard: "a copy that is complete is not turned round",
		file:  "cmd/dmcopy/state.go", old: "complete && !f.restart && turnedRound(done, plan)", new: "complete && !f.restart && turnedRound(done, plan) && false",
		in: "./cmd/dmcopy", tests: "TestScripts/messages",
	},
	{
		guard: "frozen only if all was read meanwhile",
		file:  "dispatch/source.go", old: "	if frozen && err != nil &&", new: "	if false && frozen && err != nil &&",
		in: "./dispatch", tests: "TestInterruptThaws",
	},
	{
		guard: "a misspelt device does not become a file",
		file:  "internal/dispatch/ends/create.go", old: "if !bare && !strings.Contains(name, \"/\") {", new: "if false {",
		in: "./internal/dispatch/ends", tests: "TestCreateBareNames",
	},
	{
		guard: "what a refused copy has created is removed",
		file:  "cmd/dmcopy/copy.go", old: "if report == nil { // nothing was begun", new: "if false {",
		in: "./cmd/dmcopy", tests: "TestScripts/files",
	},
	{
		guard: "what was created and somebody else has locked is not removed",
		file:  "internal/blockio/lock.go", old: "err := errors.Join(vacant(fd, unix.F_WRLCK, 0, copyGate), vacant(fd, unix.F_WRLCK, copyGate+1, 0))", new: "err := error(nil)",
		in: "./internal/dispatch/ends", tests: "TestDiscardShared",
	},
	{
		guard: "what was created and is a copy is not removed, also one of holes",
		file:  "internal/dispatch/ends/fileends.go", old: "		err = named(l.dstName, l.dst.Touch())\n", new: "",
		in: "./internal/dispatch/ends", tests: "TestDiscardCopied",
	},
	{
		guard: "a file that lost its name before it was locked is no end",
		file:  "internal/dispatch/ends/fileends.go", old: "errors.Is(err, blockio.ErrAway) {", new: "errors.Is(err, blockio.ErrAway) {\n\t\treturn nil\n\t} else if false {",
		in: "./internal/dispatch/ends", tests: "TestLockedAway",
	},
	{
		guard: "what is refused after bytes were written is no refusal",
		file:  "internal/dispatch/failure/errors.go", old: "return &tooLate{err}", new: "return err",
		in: "./dispatch", tests: "TestMovesOntoSource",
	},
	{
		guard: "what was copied of a source that lies elsewhere now is shown anew",
		file:  "internal/dispatch/record/suspect.go", old: "if was.Layout.Node(src) != nil {", new: "if false {",
		in: "./dispatch", tests: "TestSourceLeaves",
	},
	{
		guard: "a source is read from a leg that was not read before only if it was in sync",
		file:  "remap/displaced.go", old: "return w.Readable && p.sameLeg(w, now.Leg)", new: "return p.sameLeg(w, now.Leg)",
		in: "./remap", tests: "TestReread",
	},
	{
		guard: "nothing is removed but what was created, and is as it was",
		file:  "internal/dispatch/ends/create.go", old: "return err == nil && fileID(&st) == m.id && st.Size == m.size && st.Mtim == m.written, err", new: "return err == nil, err",
		in: "./internal/dispatch/ends", tests: "TestDiscard",
	},
	{
		guard: "names of device-mapper are decoded once",
		file:  "internal/sysblock/lookup.go", old: "kernel != name && Unmangled(kernel) != name", new: "kernel != name && Unmangled(Unmangled(kernel)) != name",
		in: "./internal/sysblock", tests: "TestLookup",
	},
	{
		guard: "a crash does not look like a usage error",
		file:  "cmd/dmcopy/crash.go", old: `debug.SetTraceback("crash")`, new: `debug.SetTraceback("all")`,
		in: "./cmd/dmcopy", tests: "TestCrashes",
	},
	{
		guard: "a terminal that goes away ends a copy in good order",
		file:  "cmd/dmcopy/signals.go", old: "signal.Notify(hangups, unix.SIGHUP)", new: "signal.Notify(hangups, unix.SIGWINCH)",
		in: "./cmd/dmcopy", tests: "TestHangup",
	},
	{
		guard: "nohup keeps a copy going",
		file:  "cmd/dmcopy/signals.go", old: "if !signal.Ignored(unix.SIGHUP) {", new: "if true {",
		in: "./cmd/dmcopy", tests: "TestNohup",
	},
	{
		guard: "a pipe that nobody reads ends a copy in good order",
		file:  "cmd/dmcopy/signals.go", old: "unix.SIGUSR1, unix.SIGPIPE)", new: "unix.SIGUSR1)",
		in: "./cmd/dmcopy", tests: "TestUnread",
	},
	{
		guard: "sizes are whole bytes",
		file:  "cmd/dmcopy/size.go", old: "case !n.IsInt():", new: "case false:",
		in: "./cmd/dmcopy", tests: "TestParseSize",
	},
	{
		guard: "a range goes on where the one before ended",
		file:  "internal/dispatch/byterange/byterange.go", old: "Dst = last.Dst + last.Len", new: "Dst = last.Dst",
		in: "./internal/dispatch/ends", tests: "TestRangesFollow",
	},
	{
		guard: "control characters in names are escaped in what is printed",
		file:  "cmd/dmcopy/app.go", old: "&filter{w: a.outlet}", new: "a.outlet",
		in: "./cmd/dmcopy", tests: "TestNamesAreHarmless",
	},
	{
		guard: "control characters in names are escaped in messages",
		file:  "cmd/dmcopy/terminal.go", old: "text, rest := printable(p)", new: "text, rest := p, []byte(nil)",
		in: "./cmd/dmcopy", tests: "TestTerminalIsHarmless",
	},
	{
		guard: "whoever copies a UUID is told",
		file:  "cmd/dmcopy/copy.go", old: "warnings = append(warnings, a.warn(a.equalUUIDs(ctx, job))...)", new: "_ = a.equalUUIDs(ctx, job)",
		in: "./cmd/dmcopy", tests: "TestEqualUUIDs",
	},
	{
		guard: "a plan on a snapshot says what is in use",
		file:  "cmd/dmcopy/refusals.go", old: "by != nil {", new: "by == nil {",
		in: "./cmd/dmcopy", tests: "TestScripts/mixed",
	},
	{
		guard: "snapshots that a copy fills are told of",
		file:  "internal/layout/filling.go", old: "ok && use.Origin == origin {", new: "ok && use.Origin == dev {",
		in: "./internal/layout", tests: "TestFillings",
	},
	{
		guard: "the space of a snapshot is counted in whole chunks",
		file:  "cmd/dmcopy/warnings.go", old: "units += (r.Dst+r.Len-1)/unit - r.Dst/unit + 1", new: "units += r.Len / unit",
		in: "./cmd/dmcopy", tests: "TestExhausted",
	},
	{
		guard: "a thin pool without room is told of",
		file:  "cmd/dmcopy/warnings.go", old: "room.Unmapped.Bytes()), room.Free.Bytes()", new: "room.Free.Bytes()), room.Free.Bytes()",
		in: "./cmd/dmcopy", tests: "TestLacksRoom",
	},
	{
		guard: "a snapshot that overflows when it is written to is told of",
		file:  "internal/layout/filling.go", old: "if use, ok := table.Targets[i].SnapshotUse(); ok {", new: "if use, ok := table.Targets[i].SnapshotUse(); ok && false {",
		in: "./internal/layout", tests: "TestFillings",
	},
	{
		guard: "state: what differs is forgotten",
		file:  "dispatch/run.go", old: "failure.During(\"state\", r.opts.Journal.Forget())", new: "nil",
		in: "./dispatch", tests: "TestMismatchForgets",
	},
	{
		guard: "state: the file is durable before it has the name",
		file:  "internal/journal/file.go", old: "err = next.Sync()", new: "err = nil",
		in: "./internal/journal", tests: "TestPowerLoss",
	},
	{
		guard: "state: the name is durable",
		file:  "internal/journal/file.go", old: "return errors.Join(f.dir.sync(), old.Close())", new: "return old.Close()",
		in: "./internal/journal", tests: "TestPowerLoss",
	},
	{
		guard: "state: locked before it has the name",
		file:  "internal/journal/directory.go", old: "f := os.NewFile(uintptr(fd), name)\n\tif err := lock(f); err != nil {", new: "f := os.NewFile(uintptr(fd), name)\n\tif err := error(nil); err != nil {",
		in: "./internal/journal", tests: "TestBusy",
	},
	{
		guard: "state: the file that is locked is the one of the name",
		file:  "internal/journal/directory.go", old: "err == nil && !same(at, &opened) {", new: "false {",
		in: "./internal/journal", tests: "TestNobodySlipsIn",
	},
	{
		guard: "state: it is written under a name that nothing has",
		file:  "internal/journal/directory.go", old: "unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|", new: "unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|",
		in: "./internal/journal", tests: "TestNeverOver",
	},
	{
		guard: "state: what lies beside it and is no leftover stays",
		file:  "internal/journal/leftover.go", old: " || !beginsAsState(f)", new: "",
		in: "./internal/journal", tests: "TestOthersStay",
	},
	{
		guard: "state: a leftover is known by its name",
		file:  "internal/journal/leftover.go", old: "if isNewName(candidate, name) {", new: "if strings.HasPrefix(candidate, name) && candidate != name {",
		in: "./internal/journal", tests: "TestOthersStay",
	},
	{
		guard: "state: another file that has got the name stays",
		file:  "internal/journal/directory.go", old: "case err == nil && !same(&at, &opened):", new: "case false:",
		in: "./internal/journal", tests: "TestNameGivenAway",
	},
	{
		guard: "state: a predecessor that lives",
		file:  "internal/journal/file.go", old: "if lives {", new: "if lives && false {",
		in: "./internal/journal", tests: "TestPredecessor",
	},
	{
		guard: "state: its form",
		file:  "internal/journal/parse.go", old: "if !bytes.Equal(again, file) {", new: "if !bytes.Equal(again, file) && false {",
		in: "./internal/journal", tests: "TestForged",
	},
	{
		guard: "state: who could have written it",
		file:  "internal/journal/directory.go", old: "case st.Mode&0o022 != 0:", new: "case false:",
		in: "./internal/journal", tests: "TestUnsafe",
	},
	{
		guard: "bad sectors: only those of the source",
		file:  "internal/dispatch/hostcopy/bad.go", old: "&& h.ReadFailure(f) && emulation.IsMediaError(f.Err)", new: "",
		in: "./dispatch", tests: "TestUnbearable",
	},
	{
		guard: "bad sectors: zeroes",
		file:  "internal/dispatch/hostcopy/bad.go", old: "return h.blank(ctx, failures)", new: "return nil",
		in: "./dispatch", tests: "TestUnreadable",
	},
	{
		guard: "bad sectors: a disk that is gone has none",
		file:  "internal/dispatch/hostcopy/bad.go", old: "if err := h.explain(ctx); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "TestVanished",
	},
	{
		guard: "calls within both files",
		file:  "copydomain/files/copier.go", old: "if m.Src > src-m.Len || m.Dst > dst-m.Len {", new: "if false {",
		in: "./copydomain/files", tests: "TestFileShrinks",
	},
	{
		guard: "impossible counts of copy_file_range",
		file:  "copydomain/files/copier.go", old: "case n < 0 || n > m.Len:", new: "case n < 0:",
		in: "./copydomain/files", tests: "TestImpossibleCounts",
	},
	{
		guard: "the file that was planned with",
		file:  "copydomain/files/file.go", old: "id != n.ID {", new: "id == \"\" {",
		in: "./copydomain/files", tests: "TestOpenOthers",
	},
	{
		guard: "file systems that copy by themselves",
		file:  "copydomain/files/filesystem.go", old: "{\"tmpfs\", nil}", new: "{\"tmpfs\", (*FileSystem).server}",
		in: "./copydomain/files", tests: "TestNoCopyThroughMemory",
	},
	{
		guard: "fsync of files",
		file:  "copydomain/filecopy.go", old: "return c.copier.Flush()", new: "return nil",
		in: "./dispatch", tests: "TestFilesShareBlocks",
	},
	{
		guard: "nothing holds loop devices",
		file:  "internal/dispatch/plan/fileends.go", old: "return s.DstLeaf.Mutable", new: "return false",
		in: "./dispatch", tests: "TestLoops",
	},
	{
		guard: "where loop devices lie is compared",
		file:  "internal/sysblock/vitals.go", old: "if v.Loop[i], err = d.optional(attr)", new: `if v.Loop[i], err = d.optional("none/" + attr)`,
		in: "./internal/layout", tests: "TestLoop",
	},
	{
		guard: "disks of one name count as one",
		file:  "internal/dispatch/plan/overlap.go", old: "!o.known.apart(all) {", new: "!o.known.apart(all) && len(all) > 9 {",
		in: "./dispatch", tests: "TestPathsToOneDisk",
	},
	{
		guard: "disks of one name are looked at twice",
		file:  "internal/dispatch/plan/duplicate.go", old: "bytes.Equal(looks[0], looks[2]) && bytes.Equal(looks[1], looks[3]) && ", new: "",
		in: "./dispatch", tests: "TestPathsToOneDisk",
	},
	{
		guard: "no command between disks of one name",
		file:  "copydomain/finder.go", old: "a.Identity != \"\" && a.Identity == b.Identity:", new: "a.Identity == \"none\":",
		in: "./dispatch", tests: "TestTwins",
	},
	{
		guard: "names that other disks have",
		file:  "copydomain/units.go", old: "case len(like.Twins) > 0:", new: "case len(like.Twins) > 9:",
		in: "./copydomain", tests: "TestNameOfAnotherDisk",
	},
	{
		guard: "logical units are the ones that were probed",
		file:  "copydomain/scsi/again.go", old: "if err := d.Same(ctx); err != nil {", new: "if err := d.Same(ctx); err != nil && ctx == nil {",
		in: "./copydomain/scsi", tests: "TestCopyLooksAgain",
	},
	{
		guard: "room of lost commands",
		file:  "copydomain/blocks/issuer.go", old: "b.Slots <- b.protocol.Room()", new: "b.Slots <- f.slot",
		in: "./copydomain/blocks", tests: "TestGhostKeepsItsRoom",
	},
	{
		guard: "what another batch has under way",
		file:  "copydomain/blocks/ledger.go", old: "if s, bad := e.conflict(other); bad {", new: "if s, bad := e.conflict(other); bad && l == nil {",
		in: "./copydomain/blocks", tests: "TestLedgerIsByDevice",
	},
	{
		guard: "what was torn before it was tried again",
		file:  "copydomain/blocks/issuer.go", old: "b.torn = b.torn || !o.Untouched", new: "b.torn = o.Action > ActionFence",
		in: "./copydomain/blocks", tests: "TestIssueRemembersWhatIsTorn",
	},
	{
		guard: "freeze: thawed when the time is over",
		file:  "internal/dispatch/freeze/helper.go", old: "case <-expiry.C:", new: "case <-(<-chan time.Time)(nil):",
		in: "./internal/dispatch/freeze", tests: "TestKeep",
	},
	{
		guard: "freeze: thawed when nobody is left who wants it frozen",
		file:  "internal/dispatch/freeze/helper.go", old: "	case <-ended:\n", new: "	case <-make(chan struct{}):\n",
		in: "./internal/dispatch/freeze", tests: "TestKeep",
	},
	{
		guard: "freeze: a copy whose source was thawed too early is none",
		file:  "dispatch/source.go", old: "if err := frozen.Thaw(); err != nil {", new: "if err := frozen.Thaw(); err != nil && s == nil {",
		in: "./dispatch", tests: "TestThawFails",
	},
	{
		guard: "freeze: it ends when its source is thawed",
		file:  "dispatch/source.go", old: "		end(failure.ErrThawed)\n", new: "",
		in: "./dispatch", tests: "TestThawedTooEarly",
	},
	{
		guard: "freeze: what was copied of another moment is compared",
		file:  "dispatch/resume.go", old: "if r.source.frozen != nil && len(done) > 0 {", new: "if false {",
		in: "./dispatch", tests: "TestFrozenAgain",
	},
	{
		guard: "freeze: a state of a frozen source is for one that is frozen",
		file:  "internal/dispatch/ends/describe.go", old: "plan.Source.Version = frozenVersion", new: "_ = frozenVersion",
		in: "./internal/dispatch/ends", tests: "TestDescribeDevice",
	},
	{
		guard: "a state of a live source is for a live one",
		file:  "internal/dispatch/ends/describe.go", old: "plan.Source.Version = liveVersion", new: "_ = liveVersion",
		in: "./internal/dispatch/ends", tests: "TestDescribeFiles",
	},
	{
		guard: "nice: others are given way to",
		file:  "internal/dispatch/pace/nice.go", old: "if others && busy.mean() > n.bound() {", new: "if others && busy.mean() > n.bound() && n.log == nil {",
		in: "./internal/dispatch/pace", tests: "TestNiceGivesWay",
	},
	{
		guard: "nice: the copy comes to its end",
		file:  "internal/dispatch/pace/nice.go", old: "max(n.limit/2, niceFloor)", new: "n.limit / 2",
		in: "./internal/dispatch/pace", tests: "TestNiceGoesOn",
	},
	{
		guard: "edges of a file are written exactly",
		file:  "emulation/file.go", old: "	if d.edges != nil {\n		return 1\n	}\n", new: "",
		in: "./cmd/dmcopy", tests: "TestTwoCopiesShareABlock",
	},
	{
		guard: "a plan sees what another copy writes to",
		file:  "internal/dispatch/ends/fileends.go", old: "l.write(l.dst.CheckToWrite, l.dst.CheckRange, ranges)", new: "l.write(l.dst.CheckToWrite, l.dst.CheckRange, nil)",
		in: "./cmd/dmcopy", tests: "TestLockedFiles",
	},
	{
		guard: "what is written exactly is not merged",
		file:  "emulation/op.go", old: "unit: int64(d.WriteUnit())", new: "unit: int64(d.BlockSize())",
		in: "./emulation", tests: "TestThreads",
	},
	{
		guard: "locks of others on a file that is written",
		file:  "internal/blockio/lock.go", old: "	err := unused(fd, writerForbids)\n", new: "	err := unused(fd, nil)\n",
		in: "./internal/blockio", tests: "TestLocks",
	},
	{
		guard: "locks of others on a file that is read",
		file:  "internal/blockio/lock.go", old: "return unused(fd, readerForbids)", new: "return nil",
		in: "./internal/blockio", tests: "TestLocks",
	},
	{
		guard: "locks of processes",
		file:  "internal/blockio/lock.go", old: "if err := vacant(fd, unix.F_RDLCK, 0, copyGate); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/blockio", tests: "TestLocks",
	},
	{
		guard: "copies tell each other from others",
		file:  "internal/blockio/lock.go", old: "return lock(fd, unix.F_RDLCK, copyWrites, 1)", new: "return nil",
		in: "./internal/blockio", tests: "TestCopiesShareAFile",
	},
	{
		guard: "two copies do not write to the same bytes",
		file:  "internal/dispatch/ends/fileends.go", old: "for _, run := range bounded(byterange.Runs(ranges)) {", new: "for _, run := range bounded(byterange.Runs(ranges))[:0] {",
		in: "./cmd/dmcopy", tests: "TestLockedFiles",
	},
	{
		guard: "files are locked before they are copied",
		file:  "dispatch/run.go", old: "if err := r.dest.files.Lock(r.job.Ranges); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./cmd/dmcopy", tests: "TestLockedFiles",
	},
	{
		guard: "a destination file is in its place in the end",
		file:  "dispatch/destination.go", old: "d.offload.Flush(ctx), d.inPlace(),", new: "d.offload.Flush(ctx),",
		in: "./dispatch", tests: "TestDestinationFileIsTaken",
	},
	{
		guard: "a destination file that was cut off is not made longer again",
		file:  "internal/blockio/blockio.go", old: "size < int64(f.opened.Size) {", new: "size < 0 {",
		in: "./dispatch", tests: "TestDestinationFileIsTaken",
	},
	{
		guard: "a destination file that was written is no hole in the end",
		file:  "dispatch/run.go", old: "if err := r.dest.filled(ctx, r.job.Ranges); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "TestDestinationFileIsHollow",
	},
	{
		guard: "a hole of the destination is right where the source holds zeroes",
		file:  "dispatch/hollow.go", old: "	if err != nil || len(found.Mismatches) == 0 {\n		return nil, err\n	}\n	return &found.Mismatches[0], nil", new: "	return &emulation.Mismatch{}, err",
		in: "./dispatch", tests: "TestDestinationFileIsHollow",
	},
	{
		guard: "state: a rate file that is gone keeps no copy from being resumed",
		file:  "cmd/dmcopy/rate.go", old: "case errors.Is(err, fs.ErrNotExist) && resumed:", new: "case errors.Is(err, fs.ErrNotExist) && len(r.path) == 0:",
		in: "./cmd/dmcopy", tests: "TestScripts",
	},
	{
		guard: "a hole of the destination is right where a source that may change had one",
		file:  "dispatch/hollow.go", old: "	return other == 0 &&", new: "	return other >= 0 ||",
		in: "./dispatch", tests: "TestHoleOfALiveSource",
	},
	{
		guard: "a source file is as it was",
		file:  "dispatch/run.go", old: "errors.Join(users, r.unmodified(ctx, equal && users == nil))", new: "users",
		in: "./dispatch", tests: "TestSourceFileChanges",
	},
	{
		guard: "a failure ends its batch",
		file:  "internal/dispatch/hostcopy/host.go", old: "				stop(errUnbearable)\n", new: "",
		in: "./dispatch", tests: "TestNoSpace",
	},
	{
		guard: "what failed is not progress",
		file:  "emulation/threads.go", old: "j.watch.Progress(n - w.stats.Failed)", new: "j.watch.Progress(n)",
		in: "./dispatch", tests: "TestNoSpace",
	},
	{
		guard: "windows end somewhere",
		file:  "internal/dispatch/window/size.go", old: "min(max(bytes, 1), Max)", new: "max(bytes, 1)",
		in: "./internal/dispatch/window", tests: "TestHugeWindow",
	},
	{
		guard: "the largest number is the largest",
		file:  "internal/dispatch/window/size.go", old: "if f >= math.MaxInt64 {", new: "if f > 0 && f < 0 {",
		in: "./internal/dispatch/pace", tests: "TestHugeRates",
	},
	{
		guard: "the last block of the longest file",
		file:  "emulation/file.go", old: "size > math.MaxInt64-int64(f.BlockSize()) {", new: "size > math.MaxInt64 {",
		in: "./emulation", tests: "TestLargestFile",
	},
	{
		guard: "in use: the ends are claimed",
		file:  "internal/dispatch/ends/claim.go", old: "facts.Dev.Minor, blockio.Exclusive)", new: "facts.Dev.Minor, 0)",
		in: "./internal/dispatch/ends", tests: "TestClaims",
	},
	{
		guard: "in use: a source is claimed",
		file:  "internal/dispatch/ends/inuse.go", old: "err := c.still(ctx, o.facts)", new: "err := error(nil)",
		in: "./internal/dispatch/ends", tests: "TestClaims",
	},
	{
		guard: "in use: what is written to is no source of others",
		file:  "internal/dispatch/ends/claim.go", old: "return has.Unmark(readMark)", new: "return nil",
		in: "./internal/dispatch/ends", tests: "TestClaims",
	},
	{
		guard: "in use: a source that others may write to",
		file:  "internal/dispatch/ends/inuse.go", old: "if u.Kind.Writes() && (worst", new: "if u.Kind == sysblock.MountedRW && (worst",
		in: "./internal/dispatch/ends", tests: "TestOpenRefuses",
	},
	{
		guard: "in use: other mount namespaces",
		file:  "internal/sysblock/mounts.go", old: "if !ok || seen[from] {", new: "if ok || seen[from] {",
		in: "./internal/sysblock", tests: "TestNamespaces",
	},
	{
		guard: "in use: who sees less of a namespace does not stand for it",
		file:  "internal/sysblock/mounts.go", old: "return viewpoint{namespace, root}, err == nil", new: "_ = root; return viewpoint{namespace, \"\"}, err == nil",
		in: "./internal/sysblock", tests: "TestNamespaces",
	},
	{
		guard: "in use: a read-only holder is one that the kernel calls so",
		file:  "internal/sysblock/users.go", old: "if is {", new: "if is || true {",
		in: "./internal/sysblock", tests: "TestFileUsers",
	},
	{
		guard: "in use: loop devices",
		file:  "internal/sysblock/users.go", old: "if l.storage != id {", new: "if true {",
		in: "./internal/sysblock", tests: "TestFileUsers",
	},
	{
		guard: "in use: files of loop devices are known by their numbers",
		file:  "internal/sysblock/loop.go", old: "l.file, l.storage = bound.File, bound.ID", new: "l.file, l.storage = bound.File, \"\"",
		in: "./internal/dispatch/ends", tests: "TestLoopWithoutName",
	},
	{
		guard: "in use: targets of the kernel",
		file:  "internal/sysblock/users.go", old: "e.id == id && !u.reaches(e)", new: "e.id == \"\" && !u.reaches(e)",
		in: "./internal/sysblock", tests: "TestFileUsers",
	},
	{
		guard: "in use: whoever has it open for writing",
		file:  "internal/sysblock/users.go", old: "if w.id == id {", new: "if false {",
		in: "./internal/sysblock", tests: "TestFileUsers",
	},
	{
		guard: "in use: files that are mounted themselves",
		file:  "internal/sysblock/users.go", old: "return m.SourceID == id", new: "return false",
		in: "./internal/sysblock", tests: "TestMountedFiles",
	},
	{
		guard: "in use: files that are mounted in other namespaces have their names there",
		file:  "internal/sysblock/mounts.go", old: "m.SourceID = f.fileAt(m.Source, seer.root())", new: "m.SourceID = f.fileAt(m.Source, \"\")",
		in: "./internal/sysblock", tests: "TestMountedFiles",
	},
	{
		guard: "in use: the output of this very process",
		file:  "internal/dispatch/ends/output.go", old: "if u.Kind != sysblock.Output {", new: "if true {",
		in: "./cmd/dmcopy", tests: "TestOutputIsNoEnd",
	},
	{
		guard: "in use: the output, whatever a source may suffer",
		file:  "internal/dispatch/ends/open.go", old: "if opts.Freeze || opts.LiveSource {", new: "if false {",
		in: "./cmd/dmcopy", tests: "TestOutputIsNoEnd",
	},
	{
		guard: "in use: not even the reason is written over an end",
		file:  "cmd/dmcopy/app.go", old: "	a.leaveEnds(err, asJSON)\n", new: "",
		in: "./cmd/dmcopy", tests: "TestOutputIsNoEnd",
	},
	{
		guard: "in use: threads with descriptors of their own",
		file:  "internal/sysblock/process.go", old: "if tid == pid || f.shareFiles(pid, tid) {", new: "if true {",
		in: "./internal/sysblock", tests: "TestWritersOfThreads",
	},
	{
		guard: "in use: tables of descriptors are compared",
		file:  "internal/sysblock/process.go", old: "return errno == 0 && order == 0", new: "return errno == 0 || order == 0",
		in: "./internal/sysblock", tests: "TestWriters",
	},
	{
		guard: "in use: a process lives as long as any of its threads",
		file:  "internal/sysblock/process.go", old: "	if !ended(err) {\n		return info, err\n	}\n	tids", new: "	if true {\n		return info, err\n	}\n	tids",
		in: "./internal/sysblock", tests: "TestWriters",
	},
	{
		guard: "in use: disks by character devices",
		file:  "internal/sysblock/process.go", old: "id = f.idBehind(rdev(info))", new: "id = \"\"",
		in: "./internal/sysblock", tests: "TestWritersByCommands",
	},
	{
		guard: "in use: whoever has it open for writing, out of sight",
		file:  "internal/sysblock/users.go", old: "if !file.written(u.mounts) {", new: "if true {",
		in: "./internal/sysblock", tests: "TestWriters",
	},
	{
		guard: "in use: what this process has open is no use by others",
		file:  "internal/sysblock/users.go", old: "slices.ContainsFunc(own, func(o opened) bool { return o.id == id })", new: "len(own) < 0",
		in: "./internal/sysblock", tests: "TestOwnDescriptor",
	},
	{
		guard: "in use: whoever has locked it (flock)",
		file:  "internal/sysblock/users.go", old: "p := u.fs.process(l.pid); u.fs.isAnother(p)", new: "p := u.fs.process(l.pid); false",
		in: "./internal/sysblock", tests: "TestFlocks",
	},
	{
		guard: "in use: who locks to read does not write",
		file:  "internal/sysblock/locks.go", old: "if words[3] == \"READ\" {", new: "if false {",
		in: "./internal/sysblock", tests: "TestWriters",
	},
	{
		guard: "in use: swap files",
		file:  "internal/sysblock/users.go", old: "if slices.Contains(s.ids, id) {", new: "if false {",
		in: "./internal/sysblock", tests: "TestFileUsers",
	},
	{
		guard: "in use: other paths to a disk",
		file:  "internal/sysblock/paths.go", old: "if !same {", new: "if !same || true {",
		in: "./internal/sysblock", tests: "TestOtherPaths",
	},
	{
		guard: "in use: a disk of the same size whose name cannot be read",
		file:  "internal/sysblock/paths.go", old: "unsized == nil && its != size", new: "unsized == nil || its != size",
		in: "./internal/sysblock", tests: "TestOddPath",
	},
	{
		guard: "in use: the disk of a partition",
		file:  "internal/sysblock/users.go", old: "if facts.Part != nil {\n\t\tif err := u.only(", new: "if facts.Part == nil {\n\t\tif err := u.only(",
		in: "./internal/sysblock", tests: "TestDiskOfPartition",
	},
	{
		guard: "in use: who shares storage with a destination",
		file:  "internal/dispatch/ends/inuse.go", old: "if err := o.refuseSharedDestination(ctx); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/dispatch/ends", tests: "TestShared|TestSharedLoops",
	},
	{
		guard: "in use: who shares storage with a source",
		file:  "internal/dispatch/ends/inuse.go", old: "if err := o.refuseSharedSource(ctx); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/dispatch/ends", tests: "TestShared|TestSharedLoops",
	},
	{
		guard: "in use: who has the file of a loop device open",
		file:  "internal/sysblock/used.go", old: "u.use(w.id, Use{", new: "u.use(\"\", Use{",
		in: "./internal/dispatch/ends", tests: "TestSharedLoops",
	},
	{
		guard: "in use: what is not understood may lie anywhere below",
		file:  "remap/footprint.go", old: "f.enterAll(n, below, nil)\n", new: "",
		in: "./remap", tests: "TestFootprint",
	},
	{
		guard: "in use: what is not known where it lies is everywhere",
		file:  "remap/footprint.go", old: "if f.blind || o.blind {", new: "if false {",
		in: "./remap", tests: "TestFootprintUnknown",
	},
	{
		guard: "in use: devices of one pool are in nobody's way",
		file:  "remap/footprint.go", old: "|| a.arranged && b.arranged", new: "",
		in: "./internal/layout", tests: "TestWhoSharesArranged",
	},
	{
		guard: "in use: stripes lie beside what is beside them",
		file:  "dmtable/striped.go", old: "Len: (n + row - 1) / row * m.chunk", new: "Len: n + 0*row",
		in: "./internal/layout", tests: "TestWhoShares",
	},
	{
		guard: "in use: who builds on a destination while it is written",
		file:  "dispatch/destination.go", old: "d.inPlace(), d.stillUnused(ctx), d.", new: "d.inPlace(), d.",
		in: "./dispatch", tests: "TestTaken",
	},
	{
		guard: "in use: files, where /sys is missing",
		file:  "internal/dispatch/ends/inuse.go", old: "if err := refuseWithoutSys(o.sys, o.name); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/dispatch/ends", tests: "TestFilesWithoutSys",
	},
	{
		guard: "in use: what may not be looked into is told of",
		file:  "internal/sysblock/used.go", old: "return errors.Is(err, fs.ErrPermission)\n", new: "return false\n",
		in: "./internal/sysblock", tests: "TestUnseen",
	},
	{
		guard: "a mapped device that is being removed",
		file:  "internal/sysblock/fs.go", old: "if errors.Is(err, syscall.EINVAL) && strings.HasPrefix(attr, \"dm/\") {", new: "if false {",
		in: "./internal/sysblock", tests: "TestLeavingBeside",
	},
	{
		guard: "gone: what is done on a disk that is gone stays done",
		file:  "dispatch/review.go", old: "if lost && r.layout.OnLost(was, moved) {", new: "if false && r.layout.OnLost(was, moved) {",
		in: "./dispatch", tests: "TestDiskGoneInBetween",
	},
	{
		guard: "gone: what is recorded of a disk that is gone stays recorded",
		file:  "dispatch/review.go", old: "if r.layout.Lost(ctx) {", new: "if r.layout.Lost(ctx) && false {",
		in: "./dispatch", tests: "TestDiskGoneInBetween",
	},
	{
		guard: "gone: a copy that fails looks whether a disk is gone",
		file:  "internal/dispatch/track/layout.go", old: "if l.plan != nil {", new: "if false {",
		in: "./dispatch", tests: "TestDiskGoneInBetween",
	},
	{
		guard: "gone: a disk that is on its way out is gone",
		file:  "internal/layout/changes.go", old: "case n.Leaf != nil && n.Size > 0 && vitals.Size == 0:", new: "case false:",
		in: "./internal/layout", tests: "TestChangesOnTheWayOut",
	},
	{
		guard: "gone: nothing is copied again to a disk that is gone",
		file:  "dispatch/review.go", old: "if lost {", new: "if lost && false {",
		in: "./dispatch", tests: "TestDiskGoneInBetween",
	},
	{
		guard: "mapped pages dropped at every level",
		file:  "dispatch/caches.go", old: "max(part, c.touched[n.Dev].part)", new: "min(part, machine.PartSource)",
		in: "./dispatch", tests: "TestStaleMappings",
	},
	{
		guard: "stale pages dropped when a copy ends early",
		file:  "dispatch/destination.go", old: "return failure.During(\"flush\", d.caches.dropStale(ctx))", new: "return nil",
		in: "./dispatch", tests: "TestStaleMappings",
	},
	{
		guard: "stale pages of partitions dropped",
		file:  "dispatch/caches.go", old: "part = machine.PartDestination", new: "part = machine.PartBelow",
		in: "./dispatch", tests: "TestStalePartitions",
	},
	{
		guard: "mapped pages dropped by the kernel",
		file:  "internal/blockio/cache.go", old: "_, err := f.Pwrite(nothing, off)", new: "_, err := 0, error(unix.EINVAL)",
		in: "./internal/blockio", tests: "TestUnmap",
	},
	{
		guard: "errors of writing back",
		file:  "internal/blockio/cache.go", old: "if err := f.writeBack(); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/blockio", tests: "TestWriteBackFails",
	},
	{
		guard: "a flush is not called off",
		file:  "dispatch/destination.go", old: "	ctx = context.WithoutCancel(ctx)\n	err := errors.Join", new: "	err := errors.Join",
		in: "./dispatch", tests: "TestInterruptedFlush",
	},
}
