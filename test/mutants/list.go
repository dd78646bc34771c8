package main

// The guards, in the order of docs/evidence.md.
var mutants = []mutant{
	{
		guard:  "legs of replicas that are not readable",
		symbol: "plan.sourceLeg", old: "if leg.Readable {", new: "if leg.Readable || true {",
		in: "./dispatch", tests: "TestOffloadEqualsHost",
	},
	{
		guard:  "layers: an odd device is not mapped",
		symbol: "sysblock.Facts.Layer", old: "\tcase f.Unread != \"\":\n\t\treturn f.unreadLayer()\n", new: "",
		in: "./internal/sysblock", tests: "TestBadFiles",
	},
	{
		guard:  "layers: an odd device is no reason not to see others",
		symbol: "layout.devices.node", old: "n = &Node{Facts: *facts}\n\tn.markUnread(err)\n\treturn n, nil", new: "_ = facts\n\treturn nil, err",
		in: "./internal/layout", tests: "TestOddAnswers",
	},
	{
		guard:  "layers: what cannot be read is read again",
		symbol: "layout.Reader.readOnce", old: "if passes(n.Cause()) {", new: "if false {",
		in: "./internal/layout", tests: "TestGoneMeanwhile",
	},
	{
		guard:  "layers: a look that fails is no look",
		symbol: "layout.Reader.change", old: `c.What = "cannot be read: " + oneLine(err.Error())`, new: "_ = c",
		in: "./internal/layout", tests: "TestChangesFail",
	},
	{
		guard:  "layers: what may be made of the other end is refused",
		symbol: "plan.surveyor.refuseBlind", old: "case blind && upper.Dev != lower.Dev:", new: "case blind && upper.Dev == lower.Dev:",
		in: "./dispatch", tests: "TestOddAbove",
	},
	{
		guard:  "layers: a device that was not read as a whole is copied through the kernel",
		symbol: "plan.Plan.resolves", old: "return p.Stack != nil && sectorAligned(r) && p.unread() == nil", new: "return p.Stack != nil && sectorAligned(r)",
		in: "./dispatch", tests: "TestOddDevice",
	},
	{
		guard:  "in use: a command of LVM is waited for",
		symbol: "ends.sharing.patienceFor", old: "return max(sharerPatience, s.patience)", new: "return sharerPatience",
		in: "./internal/dispatch/ends", tests: "TestSharedWithLVM",
	},
	{
		guard:  "an interruption while an end is opened is no refusal",
		symbol: "ends.unopened", old: "errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)", new: "false",
		in: "./internal/dispatch/ends", tests: "TestOpenInterrupted",
	},
	{
		guard:  "frozen: what was written meanwhile was not frozen",
		symbol: "ends.unwritten.Thaw", old: "if err == nil && now != w.before {", new: "if err == nil && now == 0 {",
		in: "./internal/dispatch/ends", tests: "TestUnwritten",
	},
	{
		guard:  "layout: an end that was made smaller is reported",
		symbol: "plan.Plan.shrunk", old: "has < had {", new: "has > had {",
		in: "./dispatch", tests: "TestShrunk",
	},
	{
		guard:  "files: each of two copies of one source sees that it has changed",
		symbol: "blockio.Status.Changed", old: "changed := now.Ctime != s.seen", new: "changed := now.Ctime != s.file.opened.Ctime\n\ts.file.opened.Ctime = now.Ctime",
		in: "./internal/dispatch/ends", tests: "TestModifiedSignOfTwoCopies",
	},
	{
		guard:  "files: a source whose status has changed is compared",
		symbol: "ends.Files.MayBeModified", old: "changed, err := l.src.status.Changed()\n\tif !changed {", new: "_, err := l.src.status.Changed()\n\tif true {",
		in: "./dispatch", tests: "TestSourceFileChanges",
	},
	{
		guard:  "files: one that a destination is stored in keeps its name",
		symbol: "ends.backing.inPlace", old: "errors.Join(f.whole(), f.status.Named())", new: "f.whole()",
		in: "./dispatch", tests: "TestFileBelowDestination",
	},
	{
		guard:  "files: nothing is written behind the end of one that a destination is stored in",
		symbol: "ends.Files.Guard", old: "return wholeDevice{dst, l.dstBelow}", new: "return dst",
		in: "./dispatch", tests: "TestFileBelowDestination",
	},
	{
		guard:  "files: whoever has the file of a destination open is reported",
		symbol: "ends.openedFile", old: "u.Kind == inuse.Opened && u.Dev.IsZero()", new: "false",
		in: "./dispatch", tests: "TestFileBelowIsOpen",
	},
	{
		guard:  "files: one that a source is stored in is looked at",
		symbol: "ends.backing.written", old: "changed, err := f.status.Changed()\n\t\tif changed {", new: "_, err := f.status.Changed()\n\t\tif false {",
		in: "./dispatch", tests: "TestFileBelowSource",
	},
	{
		guard:  "files: what is in the page cache of a source shows in what it is stored in",
		symbol: "ends.Files.settle", old: "return l.writeBack()", new: "return nil",
		in: "./dispatch", tests: "TestFileBelowSource",
	},
	{
		guard:  "files: one by two names is one",
		symbol: "ends.Ranges", old: "\tif err := refuseAliases(src, dst); err != nil {\n\t\treturn nil, err\n\t}\n", new: "",
		in: "./internal/dispatch/ends", tests: "TestAliases",
	},
	{
		guard:  "files: what does not stand still may be any other one",
		symbol: "alias.May", old: "return true, nil", new: "return false, nil",
		in: "./internal/alias", tests: "TestMayStirred",
	},
	{
		guard:  "files: contents that an overlay shows are those of a layer, whatever the times",
		symbol: "ends.comparedAliases", old: "\t\t\tif err := refuseUnderlying(s, d, name); err != nil {\n\t\t\t\treturn err\n\t\t\t}\n", new: "",
		in: "./internal/dispatch/ends", tests: "TestMetadataOnly",
	},
	{
		guard:  "users: by another name they are users",
		symbol: "inuse.FileUsers", old: "\tu.join(path, id)\n", new: "",
		in: "./internal/inuse", tests: "TestUsersByAnotherName",
	},
	{
		guard:  "users: whoever may write to a source at the end of its copy counts",
		symbol: "ends.openSource", old: "\tend.used = sharing{o}.stillUnwritten\n", new: "",
		in: "./dispatch", tests: "TestSourceTaken",
	},
	{
		guard:  "source: its growth is reported",
		symbol: "dispatch.run.noteSourceGrowth", old: "r.account.SourceGrown = grown", new: "r.account.SourceGrown = 0 * grown",
		in: "./dispatch", tests: "TestSourceGrows",
	},
	{
		guard:  "holes: data behind which the kernel cannot search is no hole",
		symbol: "blockio.Holes.At", old: "\tif off >= seekable {\n\t\treturn h.unsearched(off)\n\t}\n", new: "",
		in: "./internal/blockio", tests: "TestHole",
	},
	{
		guard:  "verification: the end of each range is among the samples",
		symbol: "dispatch.samples", old: "if !yield(g.Part(last, g.Len)) {", new: "if !yield(g.Part(last, g.Len-1)) {",
		in: "./dispatch", tests: "TestSamples",
	},
	{
		guard:  "layers: an array between two geometries has its own size",
		symbol: "layout.Node.checkTable", old: "&& !n.DM.SizesItself() {", new: "{",
		in: "./internal/layout", tests: "TestGrowingReshape",
	},
	{
		guard:  "layers: a device that is suspended for a moment is waited for",
		symbol: "ends.suspension.awaitEnd", old: "case time.Now().After(deadline):", new: "case !deadline.IsZero():",
		in: "./internal/dispatch/ends", tests: "TestOpenWaits",
	},
	{
		guard:  "layers: members that are being rebuilt are not read",
		symbol: "dmtable.raidState.stable", old: "return false", new: "return s.synced && s.quiet",
		in: "./dmtable", tests: "TestVectors",
	},
	{
		guard:  "layers: behind the last whole chunk of an array is nothing",
		symbol: "dmtable.raid.place", old: "if off >= size {\n\t\treturn noPlace(\"dm:raid\", reasonRaidTail, n)\n\t}", new: "size = max(size, off+n)",
		in: "./dmtable", tests: "TestVectors",
	},
	{
		guard:  "layers: a disk that is gone is said to be gone",
		symbol: "offload.Offloader.underHold", old: "if o.layout.OnlyMissing(moved, steps.Through()) {", new: "if o.layout.OnlyMissing(nil, steps.Through()) {",
		in: "./dispatch", tests: "TestDiskGone",
	},
	{
		guard:  "layers: what is under way for good was not copied",
		symbol: "offload.Offloader.judge", old: "take(f, func(plan.Step) {})", new: "_ = f",
		in: "./dispatch", tests: "TestLostCompletion",
	},
	{
		guard:  "layers: nothing is copied through what a file system bypasses",
		symbol: "plan.surveyor.survey", old: "if s.wrongThrough() {", new: "if s.wrongThrough() && s.Len == 0 {",
		in: "./dispatch", tests: "TestBypassed",
	},
	{
		guard:  "layers: a failed command is not made up for through what a file system bypasses",
		symbol: "dispatch.windows.checkPolicy", old: "if err := plan.CheckBypass(steps); err != nil {", new: "if err := plan.CheckBypass(steps[:0]); err != nil {",
		in: "./dispatch", tests: "TestBypassedFails",
	},
	{
		guard:  "layers: a file is no way past what a file system bypasses",
		symbol: "plan.surveyor.refuseBypassed", old: "if p.Stack != nil {", new: "if p.Plan != nil {",
		in: "./dispatch", tests: "TestBypassedBelow",
	},
	{
		guard:  "overlap below",
		symbol: "plan.surveyor.survey", old: "if !shared.any() {", new: "if true {",
		in: "./dispatch", tests: "TestSharedBlocks|TestTwiceBelow",
	},
	{
		guard:  "equal ciphers",
		symbol: "plan.Plan.classify", old: "cipher := remap.SameCipher(src, dst)", new: "cipher := src.Kind == remap.Cipher && dst.Kind == remap.Cipher",
		in: "./dispatch", tests: "TestCiphertext",
	},
	{
		guard:  "hold",
		symbol: "offload.Offloader.Carry", old: "held, err := o.holder.Hold(ctx, steps.Request(o.layout.Plan().Stack, min(holdWait, o.opts.Patience)))", new: "held, err := o.holder.Hold(ctx, hold.Request{})",
		in: "./dispatch", tests: "TestHoldUnavailable|TestMoves|TestSwapWaits",
	},
	{
		guard:  "hold still on after the commands",
		symbol: "offload.Offloader.issueHeld", old: "errors.Join(stopExtending(), held.Check())", new: "stopExtending()",
		in: "./dispatch", tests: "TestHoldLost",
	},
	{
		guard:  "no command when the hold is about to end",
		symbol: "offload.Offloader.pair", old: "NotAfter: st.notAfter,", new: "NotAfter: nil,",
		in: "./dispatch", tests: "TestStopped|TestStoppedInEveryKind",
	},
	{
		guard:  "clock right before the system call",
		symbol: "boottime.Syscall", old: "if until != Forever {", new: "if until == 0 {",
		in: "./copydomain/nvme", tests: "TestFileIsTooLate",
	},
	{
		guard:  "hold still on between the comparison and the first command",
		symbol: "offload.Offloader.refuted", old: "if err := held.Check(); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "TestHoldLost",
	},
	{
		guard:  "what was not begun in time is planned again",
		symbol: "offload.Offloader.unbegun", old: "return proven && !o.opts.InOrder", new: "return false",
		in: "./dispatch", tests: "TestStopped",
	},
	{
		guard:  "answers that nobody was waiting for",
		symbol: "blocks.batch.expire", old: "if len(b.flying) > 0 && now.Sub(b.flying[0].deadline) > stalled {", new: "if false {",
		in: "./copydomain/blocks", tests: "TestIssueWhileStopped",
	},
	{
		guard:  "hold extended for slow commands",
		symbol: "offload.extend", old: "if err := held.Extend(); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "TestSlowCommand",
	},
	{
		guard:  "comparison before the commands",
		symbol: "offload.Offloader.refuted", old: "if err != nil || len(changed) > 0 {", new: "if err != nil {",
		in: "./dispatch", tests: "TestMoves|TestMovesLower",
	},
	{
		guard:  "comparison after the commands",
		symbol: "offload.Offloader.underHold", old: "moved := remap.Moved(slices.Concat(seen, changed))", new: "moved := remap.Moved(slices.Concat(seen, changed)[:0])",
		in: "./dispatch", tests: "TestUnsafeSwap",
	},
	{
		guard:  "what was seen while commands were under way",
		symbol: "offload.Offloader.issueHeld", old: "seen = stopWatching()", new: "seen = stopWatching()[:0]",
		in: "./dispatch", tests: "TestThereAndBack",
	},
	{
		guard:  "what was not begun is left to be copied",
		symbol: "dispatch.windows.copy", old: "rest = slices.Concat(unbegun, byterange.Skip(rest, done))", new: "rest = slices.Concat(unbegun[:0], byterange.Skip(rest, done))",
		in: "./dispatch", tests: "TestEventOfSource",
	},
	{
		guard:  "what was not begun is not said to be done",
		symbol: "window.Offload.Remove", old: "o[key] = plan.Without(o[key], unbegun)", new: "o[key] = plan.Without(o[key], nil)",
		in: "./dispatch", tests: "TestEventOfSource",
	},
	{
		guard:  "zones are written to their end",
		symbol: "offload.Offloader.watchLayout", old: "if o.opts.InOrder {", new: "if false {",
		in: "./internal/dispatch/offload", tests: "TestInOrderIsNotCut",
	},
	{
		guard:  "a destination that was moved below commands is reported",
		symbol: "offload.Offloader.movedBelowCommands", old: "if i < 0 || lost == nil && o.stillThere(ctx, held, steps) {", new: "if true {",
		in: "./dispatch", tests: "TestUnsafeSwap",
	},
	{
		guard:  "where the destination lay is known only while the hold is on",
		symbol: "offload.Offloader.stillThere", old: "return held.Check() == nil", new: "return true",
		in: "./dispatch", tests: "TestNoConclusionWithoutHold",
	},
	{
		guard:  "a trusted destination gets no second chance",
		symbol: "offload.Offloader.stillThere", old: "if o.opts.Hold != hold.Auto {", new: "if false {",
		in: "./dispatch", tests: "TestSwapToTheSamePlace",
	},
	{
		guard:  "what is done is shown when the destination is moved",
		symbol: "dispatch.reviewer.review", old: "if len(rechecks) == 0 {", new: "if true {",
		in: "./dispatch", tests: "TestLeavesWithoutData",
	},
	{
		guard:  "a move after the last window",
		symbol: "dispatch.run.finish", old: "if again, _, err := r.windows.checkMoved(ctx); err != nil || len(again) > 0 {", new: "if again, err := []byterange.Range(nil), error(nil); err != nil || len(again) > 0 {",
		in: "./dispatch", tests: "TestLeavesAtTheEnd",
	},
	{
		guard:  "a move during the verification",
		symbol: "dispatch.run.finish", old: "again, moved, err := r.windows.checkMoved(ctx)", new: "again, moved, err := []byterange.Range(nil), false, error(nil)",
		in: "./dispatch", tests: "TestLeavesAtTheEnd",
	},
	{
		guard:  "a destination that was elsewhere and is back",
		symbol: "dispatch.reviewer.layoutUnchanged", old: "event := r.layout.HasEvent()", new: "event := false",
		in: "./dispatch", tests: "TestLeavesAndReturns",
	},
	{
		guard:  "all of what another layer keeps is compared",
		symbol: "plan.parts", old: "if d.Relayered {", new: "if false {",
		in: "./dispatch", tests: "TestLayerTakenAway",
	},
	{
		guard:  "a destination that comes to lie on its source",
		symbol: "dispatch.windows.replan", old: "if len(again) == 0 && len(moved) > 0 {", new: "if false {",
		in: "./dispatch", tests: "TestMovesOntoSource",
	},
	{
		guard:  "a source that was thawed shows nothing",
		symbol: "dispatch.reviewer.review", old: "if r.source.thawed() {", new: "if false {",
		in: "./dispatch", tests: "TestLeavesAfterThaw",
	},
	{
		guard:  "zones are not written again",
		symbol: "dispatch.reviewer.invalidate", old: "if r.zones.Any() {", new: "if false {",
		in: "./dispatch", tests: "TestZonesAreLost",
	},
	{
		guard:  "the state says nothing of what was moved",
		symbol: "record.Record.Withdraw", old: "if len(recorded) == 0 {", new: "if true {",
		in: "./dispatch", tests: "TestStateOfMoved",
	},
	{
		guard:  "what is flushed is where it was written, before it is recorded",
		symbol: "dispatch.destination.standing", old: "if err == nil && !still {", new: "if err == nil && !still && false {",
		in: "./dispatch", tests: "TestLeavesAndReturns",
	},
	{
		guard:  "legs of a mirror that were not read hold nothing",
		symbol: "remap.Places.among", old: "return w.Readable && p.sameLeg(w, l)", new: "return p.sameLeg(w, l)",
		in: "./remap", tests: "TestDisplaced",
	},
	{
		guard:  "what is not understood rests on what stays",
		symbol: "remap.Places.stays", old: "&& p.keeps(was.Leg.Dev)", new: "",
		in: "./remap", tests: "TestDisplaced",
	},
	{
		guard:  "copy-on-write check of the source",
		symbol: "dispatch.windows.copiedOnWrite", old: "if !w.layout.Plan().Stack.CopiesOnWrite(w.job.Src.Dev) {", new: "if true {",
		in: "./dispatch", tests: "TestCopiedOnWrite",
	},
	{
		guard:  "second look at what was zeroed",
		symbol: "dispatch.windows.staleZeroes", old: "if len(zeroed) == 0 {", new: "if true {",
		in: "./dispatch", tests: "TestZeroSourceSwapped",
	},
	{
		guard:  "second look at what was left alone",
		symbol: "dispatch.windows.staleZeroes", old: "s.Method == account.Zero || s.Method == account.Skip", new: "s.Method == account.Zero",
		in: "./dispatch", tests: "TestSkippedInVain",
	},
	{
		guard:  "only whole blocks are left alone",
		symbol: "plan.Step.wholeUnits", old: "{head + body, whole.Len - head - body, account.Zero}", new: "{head + body, whole.Len - head - body, account.Skip}",
		in: "./dispatch", tests: "TestThinPartOfABlock",
	},
	{
		guard:  "external origins are not zeroes",
		symbol: "dmtable.thin.place", old: "if !m.external && m.begin%size == 0 {", new: "if m.begin%size == 0 {",
		in: "./dmtable", tests: "TestVectors",
	},
	{
		guard:  "zeroes below a cipher are none",
		symbol: "remap.Cursor.locate", old: "if plain && p.Kind == Opaque {", new: "if plain || p.Kind == Opaque {",
		in: "./dispatch", tests: "TestThinBelowCipher",
	},
	{
		guard:  "thin volumes as they are now",
		symbol: "dispatch.run.prepare", old: "if !r.job.Src.Dev.IsZero() && !r.job.Dst.Dev.IsZero() {", new: "if false {",
		in: "./dispatch", tests: "TestThinStaysThin",
	},
	{
		guard:  "no holes within a file",
		symbol: "plan.Plan.Sparse", old: "return p.src.Holes != nil && p.src.Device.ID() != p.Dst.Device.ID()", new: "return p.src.Holes != nil",
		in: "./dispatch", tests: "TestHolesWithinAFile",
	},
	{
		guard:  "nothing but the planned extents",
		symbol: "offload.pairState.check", old: "b == nil || !b.Covers(dst.Bytes(), length.Bytes())", new: "b == nil && length == 0",
		in: "./dispatch", tests: "TestGuard",
	},
	{
		guard:  "last look at an NVMe command",
		symbol: "copydomain.nvmeCopier.guard", old: "return c.opt.Allowed(", new: "return error(nil)\n\treturn c.opt.Allowed(",
		in: "./dispatch", tests: "TestNoKindStrays",
	},
	{
		guard:  "last look at a SCSI command",
		symbol: "copydomain.scsiCopier.guard", old: "remap.Sector(s.Blocks)*c.unit); err != nil {", new: "remap.Sector(s.Blocks)*c.unit); false && err != nil {",
		in: "./dispatch", tests: "TestNoKindStrays",
	},
	{
		guard:  "proof",
		symbol: "offload.Offloader.issuePair", old: "if o.prover.Due(key) {", new: "if false {",
		in: "./dispatch", tests: "TestProof|TestProofWhereEqual",
	},
	{
		guard:  "mark where source and destination are equal",
		symbol: "proof.Prover.pick", old: "err = v.mark(ctx, b, sample)", new: "err = nil",
		in: "./dispatch", tests: "TestProofTells",
	},
	{
		guard:  "a mark that is gone proves nothing",
		symbol: "proof.Prover.differs", old: "if err == nil && equal {", new: "if false && equal {",
		in: "./dispatch", tests: "TestMarkUndone",
	},
	{
		guard:  "a mark is taken back",
		symbol: "dispatch.run.whole", old: "r.windows.prover.Unmark(context.WithoutCancel(ctx), r.layout.Changes, err)", new: "",
		in: "./dispatch", tests: "TestMarkTakenBack",
	},
	{
		guard:  "a mark behind a fence is not",
		symbol: "proof.Prover.Unmark", old: "if !errors.Is(ended, failure.ErrFenced) {", new: "if true {",
		in: "./dispatch", tests: "TestMarkBehindFence",
	},
	{
		guard:  "zeroes that arrive do not tell where they were read",
		symbol: "proof.Prover.Prove", old: "p.sure || p.unlike", new: "true",
		in: "./dispatch", tests: "TestProofLooksForMore",
	},
	{
		guard:  "write pointers that have passed by the sample",
		symbol: "proof.Prover.passedBy", old: "return pointer == at+sample.Len.Bytes(), err", new: "return pointer >= at, err",
		in: "./internal/dispatch/proof", tests: "TestZonesProve",
	},
	{
		guard:  "dirty pages written before",
		symbol: "dispatch.run.prepare", old: "failure.During(\"flush\", r.caches.drop(ctx))", new: "nil",
		in: "./dispatch", tests: "TestDirtySource|TestDirtyDestination",
	},
	{
		guard:  "dirty pages of the device below a destination file",
		symbol: "dispatch.caches.touch", old: "if p.Layout == nil {", new: "if p.Layout == nil || p.Mixed() && p.Dst.File != nil {",
		in: "./dispatch", tests: "TestDirtyParent",
	},
	{
		guard:  "stale pages dropped afterwards",
		symbol: "dispatch.destination.flush", old: "d.stillUnused(ctx), d.caches.dropStale(ctx))", new: "d.stillUnused(ctx))",
		in: "./dispatch", tests: "TestStaleCache|TestStaleMappings",
	},
	{
		guard:  "flush before the state is recorded",
		symbol: "dispatch.destination.checkpoint", old: "if err := d.flush(ctx); err != nil {\n\t\treturn failure.During(\"flush\", err)\n\t}\n\tif err := d.standing", new: "if err := d.standing",
		in: "./dispatch", tests: "TestCrashAnywhere",
	},
	{
		guard:  "unstriped lines that kernels map in two ways",
		symbol: "dmtable.parseUnstriped", old: "if t.Start != 0 {", new: "if false {",
		in: "./dmtable", tests: "TestVectors",
	},
	{
		guard:  "progress is reported by whoever carried the command out",
		symbol: "nvme.Status.reportsProgress", old: "return sct == 1 || sct == 2", new: "return sct <= 2",
		in: "./copydomain/nvme", tests: "TestJudgeProgress",
	},
	{
		guard:  "fence around a command of unknown fate",
		symbol: "blocks.RangeLocks.fence", old: "l.fences = append(l.fences, f)", new: "_ = f",
		in: "./copydomain/blocks", tests: "TestFence",
	},
	{
		guard:  "metadata snapshot of this transaction",
		symbol: "layout.Reader.hold", old: "now.HeldRoot == h.root && now.Transaction == h.transaction", new: "now.HeldRoot == h.root",
		in: "./internal/layout", tests: "TestRootFollowsTransaction",
	},
	{
		guard:  "devices that no anchor holds",
		symbol: "hold.Anchor.tryHold", old: "if err := a.holdable(chains); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/dispatch/hold", tests: "TestNoAnchorOnWhatDoesNotWait",
	},
	{
		guard:  "proof that an anchor is in flight",
		symbol: "hold.Anchor.prove", old: "if !completed {\n\t\treturn fmt.Errorf(\"a read does not come back: %w\", ErrContended)\n\t}\n\tif err := a.checkInFlight(set); err != nil {\n\t\treturn err // it was not throttled, or the machine is very busy\n\t}\n\tif err := a.checkCounted(set, chains); err != nil {\n\t\treturn err\n\t}", new: "_ = completed",
		in: "./test/integration/anchor", tests: "TestSuspendUnderWay", guest: true,
	},
	{
		guard:  "probe of the anchor",
		symbol: "hold.Anchor.prove", old: "if !completed {", new: "if !completed && false {",
		in: "./internal/dispatch/hold", tests: "TestProbe",
	},
	{
		guard:  "a read more in flight at each device than before",
		symbol: "hold.Anchor.checkCounted", old: "if n <= set.before[node] {", new: "if n < 1 {",
		in: "./internal/dispatch/hold", tests: "TestCounted",
	},
	{
		guard:  "reads of the anchor",
		symbol: "hold.Anchor.submit", old: "if r.id, err = a.kernel.read(r.group, s); err != nil {", new: "if _ = s; err != nil {",
		in: "./test/integration/anchor", tests: "TestSuspendWaitsForRelease", guest: true,
	},
	{
		guard:  "throttle of the anchor",
		symbol: "hold.Anchor.submit", old: "if err := a.setRate(r, rateFor(r.left, a.expiry())); err != nil {", new: "if r.rate = 1; err != nil {",
		in: "./test/integration/anchor", tests: "TestSuspendWaitsForRelease", guest: true,
	},
	{
		guard:  "an anchor that is queued has no limit",
		symbol: "hold.Anchor.abandon", old: "if err := a.unthrottle(set); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/dispatch/hold", tests: "TestQueuedHoldsNothing",
	},
	{
		guard:  "the last anchor was in flight until the next one was",
		symbol: "hold.anchorHold.extend", old: "err = h.Check()", new: "err = nil",
		in: "./internal/dispatch/hold", tests: "TestRenewalNeedsTheLast",
	},
	{
		guard:  "the deadline of a hold never comes nearer",
		symbol: "hold.anchorHold.extend", old: "sooner := next.deadline() < h.Deadline();", new: "sooner := false;",
		in: "./internal/dispatch/hold", tests: "TestAnchorProperties",
	},
	{
		guard:  "what the throttle rounds up",
		symbol: "hold.meter.deadline", old: "/m.rate) - slack)", new: "/m.rate))",
		in: "./internal/dispatch/hold", tests: "TestAnchorProperties",
	},
	{
		guard:  "what passes while a limit is set",
		symbol: "hold.Anchor.setRate", old: "rate: rate, since: before}", new: "rate: rate, since: a.kernel.now() + before - before}",
		in: "./internal/dispatch/hold", tests: "TestLateAnywhere",
	},
	{
		guard:  "what is left of an anchor lasts for minutes",
		symbol: "hold.slowedRate", old: "if left <= reserve {", new: "if left < 0 {",
		in: "./internal/dispatch/hold", tests: "TestHoldWithWaiter",
	},
	{
		guard:  "slow is not contended",
		symbol: "hold.Anchor.pollProbe", old: "p.latency = max(now.Sub(p.since), 1)", new: "p.latency = 1",
		in: "./internal/dispatch/hold", tests: "TestSlowIsNotContended",
	},
	{
		guard:  "groups that may hold something are not removed",
		symbol: "hold.stale", old: "return err == nil && len(limits) == 0 || made.ModTime().Before(before)", new: "return err == nil || len(limits) == 0 || made.ModTime().Before(before)",
		in: "./internal/dispatch/hold", tests: "TestRemoveStale",
	},
	{
		guard:  "what is left behind is let go after an expiry",
		symbol: "hold.cleanUp", old: "if time.Since(began) > expiry {", new: "if time.Since(began) >= 0 {",
		in: "./internal/dispatch/hold", tests: "TestCleanUp",
	},
	{
		guard:  "a cgroup for each read of the anchor",
		symbol: "hold.Anchor.submit", old: "group, err := a.kernel.newGroup()", new: "group, err := a.kernel.newGroup()\n\t\tif i > 0 {\n\t\t\tgroup = set.reads[0].group\n\t\t}",
		in: "./internal/dispatch/hold", tests: "TestRenewal",
	},
	{
		guard:  "how often an anchor is submitted that ends early",
		symbol: "hold.Anchor.tryHold", old: "switch again := try < holdTries; {", new: "switch again := try < 2*holdTries; {",
		in: "./internal/dispatch/hold", tests: "TestUnthrottled|TestTriesAgain",
	},
	{
		guard:  "an anchor that ends early on a busy machine is submitted again",
		symbol: "hold.Anchor.tryHold", old: "case !again || !errors.Is(err, ErrLost) && !errors.Is(err, errUncounted):", new: "case !again || !errors.Is(err, errUncounted):",
		in: "./internal/dispatch/hold", tests: "TestTriesAgain",
	},
	{
		guard:  "a read that is not throttled is not counted against anybody",
		symbol: "hold.Anchor.tryHold", old: "return nil, errors.Join(err, ErrUnavailable)\n\t\tcase !again", new: "return nil, errors.Join(err, ErrContended)\n\t\tcase !again",
		in: "./internal/dispatch/hold", tests: "TestUnthrottled",
	},
	{
		guard:  "ways that are too many",
		symbol: "hold.Anchor.tryHold", old: "if len(chains) > maxWays {", new: "if len(chains) > 10*maxWays {",
		in: "./internal/dispatch/hold", tests: "TestTooManyWays",
	},
	{
		guard:  "the first limit of a disk before the first command",
		symbol: "hold.Anchor.tryHold", old: "if err := a.kernel.initThrottle(leaf, maxLatency); err != nil {", new: "if err := error(nil); err != nil && leaf.Major > 0 {",
		in: "./internal/dispatch/hold", tests: "TestUnavailable",
	},
	{
		guard:  "an anchor is in flight when it is said to be",
		symbol: "hold.Anchor.prove", old: "return a.checkInFlight(set)", new: "return nil",
		in: "./internal/dispatch/hold", tests: "TestTriesAgain",
	},
	{
		guard:  "an anchor that ended early is not taken for one that is queued",
		symbol: "hold.Anchor.prove", old: "return err // it was not throttled, or the machine is very busy", new: "_ = err",
		in: "./internal/dispatch/hold", tests: "TestUnthrottled",
	},
	{
		guard:  "a read that has ended holds nothing",
		symbol: "hold.Anchor.checkInFlight", old: "err = errExpired", new: "err = nil",
		in: "./internal/dispatch/hold", tests: "TestManyWaysOverOneDisk",
	},
	{
		guard:  "groups of reads in flight stay",
		symbol: "hold.Anchor.removeEnded", old: "if r.id >= 0 {", new: "if false {",
		in: "./internal/dispatch/hold", tests: "TestQueuedHoldsNothing",
	},
	{
		guard:  "an anchor holds until the first of its reads ends",
		symbol: "hold.readSet.deadline", old: "earliest = min(earliest, r.deadline())", new: "earliest = r.deadline()",
		in: "./internal/dispatch/hold", tests: "TestEarliest",
	},
	{
		guard:  "the device is the one meant",
		symbol: "hold.isNode", old: "&& unix.Minor(st.Rdev) == dev.Minor", new: "",
		in: "./internal/dispatch/hold", tests: "TestIsNode",
	},
	{
		guard:  "every device has a read through it",
		symbol: "hold.cover", old: "func(d remap.Dev) bool { return !held[d] }", new: "func(d remap.Dev) bool { return len(held) == 0 }",
		in: "./internal/dispatch/hold", tests: "TestCover",
	},
	{
		guard:  "the deadline of a hold is never taken back",
		symbol: "hold.anchorHold.updateDeadline", old: "h.until.Store(max(h.until.Load(), int64(until)))", new: "h.until.Store(int64(until))",
		in: "./internal/dispatch/hold", tests: "TestNeverNearer",
	},
	{
		guard:  "no hold is said to last longer than an expiry",
		symbol: "hold.anchorHold.updateDeadline", old: "until := min(h.current.deadline(), h.anchor.kernel.now().Add(h.anchor.expiry()))", new: "until := h.current.deadline()",
		in: "./internal/dispatch/hold", tests: "TestExtendedWithWaiter|TestWaiterGivesUp",
	},
	{
		guard:  "a hold that is short lasts while the next one is made",
		symbol: "hold.anchorHold.extend", old: "if !h.lastsFor(whole / 2) {", new: "if false {",
		in: "./internal/dispatch/hold", tests: "TestHoldWithWaiter",
	},
	{
		guard:  "a hold is renewed while enough is left of it to last for minutes",
		symbol: "hold.anchorHold.lastsFor", old: "r.rate > minRate && r.withheld(now.Add(expiry/2)) < reserve/2", new: "false",
		in: "./internal/dispatch/hold", tests: "TestHoldWithWaiter",
	},
	{
		guard:  "a hold that cannot be renewed lasts",
		symbol: "hold.anchorHold.extend", old: "h.slowDown()\n\t\treturn h.Check()", new: "return h.Check()",
		in: "./internal/dispatch/hold", tests: "TestExtendedWithWaiter",
	},
	{
		guard:  "a renewal waits for nobody",
		symbol: "hold.anchorHold.renew", old: "if !completed {", new: "if !completed && false {",
		in: "./internal/dispatch/hold", tests: "TestHoldWithWaiter",
	},
	{
		guard:  "one probe at a time",
		symbol: "hold.Anchor.probeUnlessPending", old: "if a.probing.pending() {", new: "if false {",
		in: "./internal/dispatch/hold", tests: "TestHoldWithWaiter",
	},
	{
		guard:  "too slow to be held",
		symbol: "hold.Anchor.measureLatency", old: "if p.latency > maxLatency {", new: "if false {",
		in: "./internal/dispatch/hold", tests: "TestSlowIsNotContended",
	},
	{
		guard:  "a probe that was not waited for measures nothing",
		symbol: "hold.Anchor.pollProbe", old: "case unseen > probeStep:", new: "case unseen > maxLatency*1000000:",
		in: "./internal/dispatch/hold", tests: "TestSuspendedIsContended",
	},
	{
		guard:  "a suspend is not waited for long",
		symbol: "hold.Anchor.measureLatency", old: "case waited >= wait && a.anySuspended(chains), waited >= maxLatency:", new: "case waited >= 10*maxLatency:",
		in: "./internal/dispatch/hold", tests: "TestSuspendedIsContended",
	},
	{
		guard:  "a step of the throttle's clock",
		symbol: "hold.meter.withheld", old: "(int64(now.Sub(m.since)+tick)*m.rate", new: "(int64(now.Sub(m.since))*m.rate",
		in: "./internal/dispatch/hold", tests: "TestManyRates",
	},
	{
		guard:  "the lowest limit that every kernel takes",
		symbol: "hold.minRate", old: "minRate = 2", new: "minRate = 1",
		in: "./internal/dispatch/hold", tests: "TestHoldWithWaiter",
	},
	{
		guard:  "a reply that comes too late is not the next one",
		symbol: "hold.helper.call", old: "if h.broken != nil {", new: "if false {",
		in: "./internal/dispatch/hold", tests: "TestLateReply",
	},
	{
		guard:  "each read is begun in its own group",
		symbol: "hold.system.read", old: "if err := s.enter(group); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/dispatch/hold", tests: "TestReaderMoves",
	},
	{
		guard:  "the group that the reader is in is not removed",
		symbol: "hold.system.removeGroup", old: "if group == s.readerGroup {", new: "if false {",
		in: "./internal/dispatch/hold", tests: "TestReaderMoves",
	},
	{
		guard:  "requests pass the throttle",
		symbol: "hold.system.waitsForReads", old: "if err == nil && requests {", new: "if err == nil && requests && false {",
		in: "./internal/dispatch/hold", tests: "TestHoldable",
	},
	{
		guard:  "arrays of old kernels do not wait",
		symbol: "hold.system.waitsForReads", old: "if err2 == nil && array && s.version.before(arraysWait) {", new: "if err2 == nil && array && false {",
		in: "./internal/dispatch/hold", tests: "TestHoldable",
	},
	{
		guard:  "LVM commands that wait go first",
		symbol: "hold.tryLock", old: `aux, err := flock(path+":aux", unix.LOCK_EX)`, new: "aux, err := flock(path, unix.LOCK_SH)",
		in: "./internal/dispatch/hold", tests: "TestLockGroupLetsWriterFirst",
	},
	{
		guard:  "the lock of a volume group has its name still",
		symbol: "hold.lockNamed", old: "return err == nil && os.SameFile(locked, named), nil", new: "return err == nil && locked != named, nil",
		in: "./internal/dispatch/hold", tests: "TestLockNamed",
	},
	{
		guard:  "groups with limits are left alone at first",
		symbol: "hold.cgroups.removeUnlimited", old: "case len(limits) > 0:", new: "case len(limits) < 0:",
		in: "./internal/dispatch/hold", tests: "TestCleanUp",
	},
	{
		guard:  "groups of other anchors are left alone",
		symbol: "hold.cgroups.own", old: `return !strings.HasPrefix(filepath.Base(dir), cgroupPrefix+g.owner+"-")`, new: "return false",
		in: "./internal/dispatch/hold", tests: "TestCgroupsOfOneProcess",
	},
	{
		guard:  "groups of living processes are left alone",
		symbol: "hold.removeStale", old: "errors.Is(unix.Kill(pid, 0), unix.ESRCH)", new: "pid > 0",
		in: "./internal/dispatch/hold", tests: "TestRemoveStale",
	},
	{
		guard:  "the io controller of others stays on",
		symbol: "hold.cgroups.disable", old: "if !ours && !g.enabled", new: "if !ours && !g.enabled && false",
		in: "./internal/dispatch/hold", tests: "TestCgroupLeavesOthersAlone",
	},
	{
		guard:  "only what cannot be swapped needs no hold",
		symbol: "hold.Holder.Hold", old: "if !needsHold(req) {", new: "if needsHold(req) {",
		in: "./internal/dispatch/hold", tests: "TestHolder",
	},
	{
		guard:  "no command at the moment itself",
		symbol: "boottime.Limit.Check", old: "until != Forever && now >= until", new: "until != Forever && now > until",
		in: "./internal/boottime", tests: "TestLimit",
	},
	{
		guard:  "no system call when it is too late",
		symbol: "boottime.Syscall", old: ">= int64(until)", new: ">= int64(Forever)",
		in: "./internal/boottime", tests: "TestSyscall",
	},
	{
		guard:  "a second is left of the hold for each command",
		symbol: "offload.notAfter", old: "held.Deadline().Add(-spare)", new: "held.Deadline()",
		in: "./internal/dispatch/offload", tests: "TestNotAfter",
	},
	{
		guard:  "nothing is begun without a batch",
		symbol: "offload.pairState.notAfter", old: "return 0", new: "return boottime.Forever",
		in: "./internal/dispatch/offload", tests: "TestNotAfter",
	},
	{
		guard:  "what was not begun in zones goes through the host",
		symbol: "offload.Offloader.unbegun", old: "&& !o.opts.InOrder", new: "",
		in: "./internal/dispatch/offload", tests: "TestUnbegun",
	},
	{
		guard:  "what was not begun of a pair that is not proven goes through the host",
		symbol: "offload.Offloader.unbegun", old: "return proven &&", new: "return",
		in: "./internal/dispatch/offload", tests: "TestUnbegun",
	},
	{
		guard:  "losses of a destination that moves on and on",
		symbol: "record.Record.Invalidate", old: "r.invalidations > maxInvalidations", new: "r.invalidations > 10*maxInvalidations",
		in: "./dispatch", tests: "TestLeavesForGood",
	},
	{
		guard:  "a read that was slowed down is renewed when nobody waits any more",
		symbol: "hold.anchorHold.extend", old: "&& !h.lastsFor(whole*3/2) {", new: "{",
		in: "./internal/dispatch/hold", tests: "TestWaiterGivesUp",
	},
	{
		guard:  "lock of the volume group",
		symbol: "hold.Holder.Hold", old: "lockGroups(ctx, h.locks, req.Groups, req.Deadline)", new: "lockGroups(ctx, h.locks, nil, req.Deadline)",
		in: "./internal/dispatch/hold", tests: "TestHoldTakesTheGroup",
	},
	{
		guard:  "state: flush of the destination before the entry",
		symbol: "dispatch.destination.flush", old: "errors.Join(d.job.Dst.Device.Flush(), d.offload.Flush(ctx)", new: "errors.Join(d.offload.Flush(ctx)",
		in: "./dispatch", tests: "TestCrashAnywhere",
	},
	{
		guard:  "flush of the leaves",
		symbol: "offload.Offloader.Flush", old: "if err := st.copier.Flush(ctx); err != nil {", new: "if err := error(nil); st == nil {",
		in: "./dispatch", tests: "TestFlushFails",
	},
	{
		guard:  "state: nothing is entered after a flush that failed",
		symbol: "dispatch.destination.flush", old: "\tif err != nil {\n\t\td.record.Drop()\n\t}\n", new: "",
		in: "./dispatch", tests: "TestFlushFailedOnce",
	},
	{
		guard:  "state: only what is done is left out",
		symbol: "dispatch.doneRuns", old: "if e.Status == journal.Done {", new: "if true {",
		in: "./dispatch", tests: "TestReadAgain",
	},
	{
		guard:  "state: samples of what was done, before it is relied on",
		symbol: "dispatch.resumer.takeUp", old: "if err := r.recheck(ctx, done); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "TestDestinationChanged",
	},
	{
		guard:  "state: samples of the source",
		symbol: "journal.File.Begun", old: "if n := differing(s.Samples, samples); n > 0 {", new: "if n := differing(s.Samples, samples); n > len(samples) {",
		in: "./dispatch", tests: "TestSourceChanged",
	},
	{
		guard:  "state: the same copy",
		symbol: "journal.File.Resume", old: "points := f.state.Plan.compare(plan)", new: "points := f.state.Plan.compare(f.state.Plan)",
		in: "./cmd/dmcopy", tests: "TestResumeRefused",
	},
	{
		guard:  "a copy that is complete is not turned round",
		symbol: "main.copyCmd.openState", old: "complete && !f.restart && turnedRound(done, plan)", new: "complete && !f.restart && turnedRound(done, plan) && false",
		in: "./cmd/dmcopy", tests: "TestScripts/messages",
	},
	{
		guard:  "frozen only if all was read meanwhile",
		symbol: "dispatch.source.thawAfter", old: "if frozen && err != nil &&", new: "if false && frozen && err != nil &&",
		in: "./dispatch", tests: "TestInterruptThaws",
	},
	{
		guard:  "a misspelt device does not become a file",
		symbol: "ends.refuseCreation", old: `if !bare && !strings.Contains(name, "/") {`, new: "if false {",
		in: "./internal/dispatch/ends", tests: "TestCreateBareNames",
	},
	{
		guard:  "what a refused copy has created is removed",
		symbol: "main.copyCmd.run", old: "if report == nil { // nothing was begun", new: "if false {",
		in: "./cmd/dmcopy", tests: "TestScripts/files",
	},
	{
		guard:  "a created file that another program has locked is not removed",
		symbol: "blockio.Locks.Alone", old: "err := errors.Join(vacant(fd, unix.F_WRLCK, 0, copyGate), vacant(fd, unix.F_WRLCK, copyGate+1, 0))", new: "err := error(nil)",
		in: "./internal/dispatch/ends", tests: "TestDiscardShared",
	},
	{
		guard:  "a created file that holds a copy is not removed, also one of holes",
		symbol: "ends.Files.Begin", old: "\t\terr = named(l.dstName, l.dst.status.Touch())\n", new: "",
		in: "./internal/dispatch/ends", tests: "TestDiscardCopied",
	},
	{
		guard:  "a file that lost its name before it was locked is no end",
		symbol: "ends.refuseAway", old: "errors.Is(err, blockio.ErrAway) {", new: "errors.Is(err, blockio.ErrAway) {\n\t\treturn nil\n\t} else if false {",
		in: "./internal/dispatch/ends", tests: "TestLockedAway",
	},
	{
		guard:  "what is refused after bytes were written is no refusal",
		symbol: "failure.TooLate", old: "return &tooLate{err}", new: "return err",
		in: "./dispatch", tests: "TestMovesOntoSource",
	},
	{
		guard:  "what was copied of a source that was moved is compared again",
		symbol: "record.mover", old: "if was.Layout.Node(src) != nil {", new: "if false {",
		in: "./dispatch", tests: "TestSourceLeaves",
	},
	{
		guard:  "a source is read from a leg that was not read before only if it was in sync",
		symbol: "remap.Places.stays", old: "return w.Readable && p.sameLeg(w, now.Leg)", new: "return p.sameLeg(w, now.Leg)",
		in: "./remap", tests: "TestReread",
	},
	{
		guard:  "only a created file that is unchanged is removed",
		symbol: "ends.madeFile.asMade", old: "return err == nil && fileID(&st) == m.id && st.Size == m.size && st.Mtim == m.written, err", new: "return err == nil, err",
		in: "./internal/dispatch/ends", tests: "TestDiscard",
	},
	{
		guard:  "names of device-mapper are decoded once",
		symbol: "sysblock.FS.mappedName", old: "kernel != name && Unmangled(kernel) != name", new: "kernel != name && Unmangled(Unmangled(kernel)) != name",
		in: "./internal/sysblock", tests: "TestLookup",
	},
	{
		guard:  "a crash does not look like a usage error",
		symbol: "main.abortOnPanic", old: `debug.SetTraceback("crash")`, new: `debug.SetTraceback("all")`,
		in: "./cmd/dmcopy", tests: "TestCrashes",
	},
	{
		guard:  "a terminal that goes away ends a copy in good order",
		symbol: "main.app.onSignals", old: "signal.Notify(hangups, unix.SIGHUP)", new: "signal.Notify(hangups, unix.SIGWINCH)",
		in: "./cmd/dmcopy", tests: "TestHangup",
	},
	{
		guard:  "nohup keeps a copy going",
		symbol: "main.app.onSignals", old: "if !signal.Ignored(unix.SIGHUP) {", new: "if true {",
		in: "./cmd/dmcopy", tests: "TestNohup",
	},
	{
		guard:  "a pipe that nobody reads ends a copy as an interruption does",
		symbol: "main.app.onSignals", old: "unix.SIGUSR1, unix.SIGPIPE)", new: "unix.SIGUSR1)",
		in: "./cmd/dmcopy", tests: "TestUnread",
	},
	{
		guard:  "sizes are whole bytes",
		symbol: "main.parseSize", old: "case !n.IsInt():", new: "case false:",
		in: "./cmd/dmcopy", tests: "TestParseSize",
	},
	{
		guard:  "a range goes on where the one before ended",
		symbol: "byterange.Range.After", old: "Dst = last.Dst + last.Len", new: "Dst = last.Dst",
		in: "./internal/dispatch/ends", tests: "TestRangesFollow",
	},
	{
		guard:  "control characters in names are escaped in what is printed",
		symbol: "main.newApp", old: "&filter{w: a.outlet}", new: "a.outlet",
		in: "./cmd/dmcopy", tests: "TestNamesAreHarmless",
	},
	{
		guard:  "control characters in names are escaped in messages",
		symbol: "main.terminal.Write", old: "text, rest := printable(p)", new: "text, rest := p, []byte(nil)",
		in: "./cmd/dmcopy", tests: "TestTerminalIsHarmless",
	},
	{
		guard:  "a copied UUID is reported",
		symbol: "main.copyCmd.run", old: "warnings = append(warnings, a.warn(warner(a).equalUUIDs(ctx, job))...)", new: "_ = warner(a).equalUUIDs(ctx, job)",
		in: "./cmd/dmcopy", tests: "TestEqualUUIDs",
	},
	{
		guard:  "a plan on a snapshot says what is in use",
		symbol: "main.refusals.settle", old: "by != nil {", new: "by == nil {",
		in: "./cmd/dmcopy", tests: "TestScripts/mixed",
	},
	{
		guard:  "snapshots that a copy fills are reported",
		symbol: "layout.Reader.snapshotSpace", old: "ok && use.Origin == origin {", new: "ok && use.Origin == dev {",
		in: "./internal/layout", tests: "TestFillings",
	},
	{
		guard:  "the space of a snapshot is counted in whole chunks",
		symbol: "main.unitsOf", old: "units += (r.Dst+r.Len-1)/unit - r.Dst/unit + 1", new: "units += r.Len / unit",
		in: "./cmd/dmcopy", tests: "TestExhausted",
	},
	{
		guard:  "a thin pool without room is reported",
		symbol: "main.lacksRoom", old: "room.Unmapped.Bytes()), room.Free.Bytes()", new: "room.Free.Bytes()), room.Free.Bytes()",
		in: "./cmd/dmcopy", tests: "TestLacksRoom",
	},
	{
		guard:  "a snapshot that overflows when it is written to is reported",
		symbol: "layout.Reader.SnapshotSpaces", old: "if use, ok := table.Targets[i].SnapshotUse(); ok {", new: "if use, ok := table.Targets[i].SnapshotUse(); ok && false {",
		in: "./internal/layout", tests: "TestFillings",
	},
	{
		guard:  "state: what differs is forgotten",
		symbol: "dispatch.run.conclude", old: `failure.During("state", r.opts.Journal.Forget())`, new: "nil",
		in: "./dispatch", tests: "TestMismatchForgets",
	},
	{
		guard:  "state: the file is durable before it has the name",
		symbol: "journal.File.replace", old: "err = next.Sync()", new: "err = nil",
		in: "./internal/journal", tests: "TestPowerLoss",
	},
	{
		guard:  "state: the name is durable",
		symbol: "journal.File.replace", old: "return errors.Join(f.dir.sync(), old.Close())", new: "return old.Close()",
		in: "./internal/journal", tests: "TestPowerLoss",
	},
	{
		guard:  "state: locked before it has the name",
		symbol: "journal.osDirectory.create", old: "if err := lock(f); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/journal", tests: "TestBusy",
	},
	{
		guard:  "state: the file that is locked is still the file with the name",
		symbol: "journal.osDirectory.claim", old: "err == nil && !same(at, &opened) {", new: "false {",
		in: "./internal/journal", tests: "TestNobodySlipsIn",
	},
	{
		guard:  "state: it is written under a name that nothing has",
		symbol: "journal.osDirectory.create", old: "unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|", new: "unix.O_RDWR|unix.O_CREAT|unix.O_TRUNC|",
		in: "./internal/journal", tests: "TestNeverOver",
	},
	{
		guard:  "state: a file beside it that is no leftover stays",
		symbol: "journal.osDirectory.removeLeftover", old: " || !beginsAsState(f)", new: "",
		in: "./internal/journal", tests: "TestOthersStay",
	},
	{
		guard:  "state: a leftover is known by its name",
		symbol: "journal.osDirectory.removeLeftovers", old: "if isNewName(candidate, name) {", new: "if strings.HasPrefix(candidate, name) && candidate != name {",
		in: "./internal/journal", tests: "TestOthersStay",
	},
	{
		guard:  "state: another file that has got the name stays",
		symbol: "journal.osDirectory.unchanged", old: "case err == nil && !same(&at, &opened):", new: "case false:",
		in: "./internal/journal", tests: "TestNameGivenAway",
	},
	{
		guard:  "state: a predecessor that lives",
		symbol: "journal.File.load", old: "if lives {", new: "if lives && false {",
		in: "./internal/journal", tests: "TestPredecessor",
	},
	{
		guard:  "state: its form",
		symbol: "journal.Parse", old: "if !bytes.Equal(again, file) {", new: "if !bytes.Equal(again, file) && false {",
		in: "./internal/journal", tests: "TestForged",
	},
	{
		guard:  "state: a file that others could have written is refused",
		symbol: "journal.trusted", old: "case st.Mode&0o022 != 0:", new: "case false:",
		in: "./internal/journal", tests: "TestUnsafe",
	},
	{
		guard:  "bad sectors: only those of the source",
		symbol: "hostcopy.Host.MayContinue", old: "&& h.ReadFailure(f) && emulation.IsMediaError(f.Err)", new: "",
		in: "./dispatch", tests: "TestUnbearable",
	},
	{
		guard:  "bad sectors: zeroes",
		symbol: "hostcopy.Host.giveUp", old: "return h.blank(ctx, failures)", new: "return nil",
		in: "./dispatch", tests: "TestUnreadable",
	},
	{
		guard:  "bad sectors: a disk that is gone has none",
		symbol: "hostcopy.Host.giveUp", old: "if err := h.explain(ctx); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "TestVanished",
	},
	{
		guard:  "calls within both files",
		symbol: "files.Copier.within", old: "if m.Src > src-m.Len || m.Dst > dst-m.Len {", new: "if false {",
		in: "./copydomain/files", tests: "TestFileShrinks",
	},
	{
		guard:  "impossible counts of copy_file_range",
		symbol: "files.Copier.call", old: "case n < 0 || n > m.Len:", new: "case n < 0:",
		in: "./copydomain/files", tests: "TestImpossibleCounts",
	},
	{
		guard:  "the file that was planned with",
		symbol: "files.Name.check", old: "id != n.ID {", new: `id == "" {`,
		in: "./copydomain/files", tests: "TestOpenOthers",
	},
	{
		guard:  "file systems that copy by themselves",
		symbol: "files.kinds", old: `{"tmpfs", nil}`, new: `{"tmpfs", (*FileSystem).server}`,
		in: "./copydomain/files", tests: "TestNoCopyThroughMemory",
	},
	{
		guard:  "fsync of files",
		symbol: "copydomain.fileCopier.Flush", old: "return c.copier.Flush()", new: "return nil",
		in: "./dispatch", tests: "TestFilesShareBlocks",
	},
	{
		guard:  "nothing holds loop devices",
		symbol: "plan.movableLoop", old: "return s.DstLeaf.Mutable", new: "return false",
		in: "./dispatch", tests: "TestLoops",
	},
	{
		guard:  "where loop devices lie is compared",
		symbol: "sysblock.State.readDisk", old: "if v.Loop[i], err = d.Optional(attr)", new: `if v.Loop[i], err = d.Optional("none/" + attr)`,
		in: "./internal/layout", tests: "TestLoop",
	},
	{
		guard:  "proofs: what one pair of files has shown says nothing of others",
		symbol: "plan.leafKeyOf", old: "if IsFileDev(n.Dev) && n.Storage != nil {", new: "if false {",
		in: "./dispatch", tests: "TestWarmEngineOtherFiles",
	},
	{
		guard:  "proofs: a device that has failed its proof is not asked again",
		symbol: "plan.Proofs.reject", old: "before.why == ReasonProofFailed {", new: "before.why == ReasonProofFailed && false {",
		in: "./internal/dispatch/plan", tests: "TestProofs",
	},
	{
		guard:  "epochs: a disk to which something has happened is identified again",
		symbol: "copydomain.identified.current", old: "return i.print == leaf.Print && i.epoch.Until(now)", new: "return i.print == leaf.Print",
		in: "./copydomain", tests: "TestIdentifiedAgain",
	},
	{
		guard:  "epochs: events that were lost end all",
		symbol: "copydomain.epochs.listen", old: "\te.all++\n\tif errors.Is(err, ErrEventsLost) {", new: "\tif errors.Is(err, ErrEventsLost) {",
		in: "./copydomain", tests: "TestEpochs",
	},
	{
		guard:  "epochs: where nobody listens, nothing counts",
		symbol: "copydomain.epochs.of", old: "if !e.listen() {", new: "if !e.listen() && false {",
		in: "./internal/dispatch/plan", tests: "TestProofsUnheard",
	},
	{
		guard:  "epochs: lost uevents are told of",
		symbol: "watch.Disks.Take", old: "(lost || unclear || !empty)", new: "(lost && false || unclear || !empty)",
		in: "./internal/layout/watch", tests: "TestTakeChanges",
	},
	{
		guard:  "epochs: uevents that cannot be understood count as lost",
		symbol: "watch.Disks.Take", old: "unclear = unclear || err != nil", new: "unclear = unclear || err != nil && false",
		in: "./internal/layout/watch", tests: "TestTakeChanges",
	},
	{
		guard:  "epochs: a unit attention is told once",
		symbol: "scsi.Happened", old: "a.HasSense && a.Sense.Key == UnitAttention", new: "false",
		in: "./copydomain", tests: "TestHappened",
	},
	{
		guard:  "epochs: a command that meets a reset",
		symbol: "nvme.Happened", old: "c.Status.Code()>>8 == pathRelated", new: "false",
		in: "./copydomain", tests: "TestCommandsMeetChanges",
	},
	{
		guard:  "epochs: no commands for a disk that was identified as another one meanwhile",
		symbol: "copydomain.leaves.copier", old: "case found.reason != \"\":", new: "case found.reason == \"nothing\":",
		in: "./copydomain", tests: "TestCopierOfAnother",
	},
	{
		guard:  "proofs: end with what they stand on",
		symbol: "plan.Proofs.isProven", old: " && is.ground.lasts(now)", new: "",
		in: "./internal/dispatch/plan", tests: "TestProofsEnd",
	},
	{
		guard:  "proofs: what happens in the midst of a copy ends its own",
		symbol: "proof.Prover.Choose", old: "if p == nil || p.ground.Lost(ground) {", new: "if p == nil {",
		in: "./dispatch", tests: "TestEventsWhileCopying",
	},
	{
		guard:  "budgets: several copies on one subsystem share one",
		symbol: "copydomain.namespaces.copier", old: ", Budget: budget}", new: "}",
		in: "./dispatch", tests: "TestEngineSharesBudgets",
	},
	{
		guard:  "budgets: a command that has ended, or was given up, is none",
		symbol: "blocks.batch.release", old: "b.Budget.done()", new: "_ = b.Budget",
		in: "./copydomain/blocks", tests: "TestBudgetAfterFence",
	},
	{
		guard:  "files: are let go after the last copy",
		symbol: "copydomain.filePairs.letGo", old: "return pair.transport.Close()", new: "return nil",
		in: "./dispatch", tests: "TestWarmEngineLetsFilesGo",
	},
	{
		guard:  "a pair that a copy could not use because it was ended is not rejected",
		symbol: "offload.Offloader.issue", old: "if ctx.Err() == nil {", new: "if true {",
		in: "./dispatch", tests: "TestInterruptedIsNotRejected",
	},
	{
		guard:  "files: planned in smaller blocks than there are now",
		symbol: "copydomain.filePairs.copier", old: "pair.Block > 0 && block > pair.Block", new: "false && block > 0",
		in: "./dispatch", tests: "TestFilePairsVanish",
	},
	{
		guard:  "proofs: a copy does not use again what it has rejected",
		symbol: "plan.Trust.Rejected", old: "if why, rejected = t.rejected[pair]; rejected {", new: "if false {",
		in: "./internal/dispatch/plan", tests: "TestProofs",
	},
	{
		guard:  "proofs: disks of one name that were different ones may not be any more",
		symbol: "plan.Proofs.Trust", old: "distinctPairs: make(map[pairKey]bool)}", new: "distinctPairs: sharedDistinct}\n}\n\nvar sharedDistinct = make(map[pairKey]bool)\n\nfunc _() {",
		in: "./internal/dispatch/plan", tests: "TestDistinctForOneCopy",
	},
	{
		guard:  "disks of one name count as one",
		symbol: "plan.overlaps.same", old: "!o.trust.allDistinct(all) {", new: "!o.trust.allDistinct(all) && len(all) > 9 {",
		in: "./dispatch", tests: "TestPathsToOneDisk",
	},
	{
		guard:  "disks of one name are looked at twice",
		symbol: "plan.differAt", old: "bytes.Equal(looks[0], looks[2]) && bytes.Equal(looks[1], looks[3]) && ", new: "",
		in: "./dispatch", tests: "TestPathsToOneDisk",
	},
	{
		guard:  "no command between disks of one name",
		symbol: "copydomain.unlike", old: `a.Identity != "" && a.Identity == b.Identity:`, new: `a.Identity == "none":`,
		in: "./dispatch", tests: "TestDuplicateIdentity",
	},
	{
		guard:  "names that other disks have",
		symbol: "copydomain.units.ambiguous", old: "case len(same.Duplicates) > 0:", new: "case len(same.Duplicates) > 9:",
		in: "./copydomain", tests: "TestNameOfAnotherDisk",
	},
	{
		guard:  "a leaf whose identification was interrupted leads nowhere",
		symbol: "copydomain.leaves.find", old: "return identified[D, T]{reason: ReasonProbeFailed, detail: ctx.Err().Error()}", new: "return now",
		in: "./copydomain", tests: "TestProbeInterruptedAnywhere",
	},
	{
		guard:  "logical units are the ones that were probed",
		symbol: "scsi.recheck", old: "if err := d.Same(ctx); err != nil {", new: "if err := d.Same(ctx); err != nil && ctx == nil {",
		in: "./copydomain/scsi", tests: "TestCopyLooksAgain",
	},
	{
		guard:  "room of lost commands",
		symbol: "blocks.batch.fence", old: "b.release(b.protocol.Room())", new: "b.release(f.slot)",
		in: "./copydomain/blocks", tests: "TestGhostKeepsItsRoom",
	},
	{
		guard:  "what another batch has under way",
		symbol: "blocks.RangeLocks.lock", old: "if s, bad := e.conflict(other); bad {", new: "if s, bad := e.conflict(other); bad && l == nil {",
		in: "./copydomain/blocks", tests: "TestRangeLocksAreByDevice",
	},
	{
		guard:  "what was torn before it was tried again",
		symbol: "blocks.batch.round", old: "b.torn = b.torn || !o.Untouched", new: "b.torn = o.Action > ActionFence",
		in: "./copydomain/blocks", tests: "TestIssueRemembersWhatIsTorn",
	},
	{
		guard:  "freeze: thawed when the time is over",
		symbol: "freeze.keep", old: "case <-expiry.C:", new: "case <-(<-chan time.Time)(nil):",
		in: "./internal/dispatch/freeze", tests: "TestKeep",
	},
	{
		guard:  "freeze: the helper thaws when its parent is gone",
		symbol: "freeze.keep", old: "case <-ended:", new: "case <-make(chan struct{}):",
		in: "./internal/dispatch/freeze", tests: "TestKeep",
	},
	{
		guard:  "freeze: a copy whose source was thawed too early fails",
		symbol: "dispatch.source.thaw", old: "if err := frozen.Thaw(); err != nil {", new: "if err := frozen.Thaw(); err != nil && s == nil {",
		in: "./dispatch", tests: "TestThawFails",
	},
	{
		guard:  "freeze: it ends when its source is thawed",
		symbol: "dispatch.endUnless", old: "\t\tend(failure.ErrThawed)\n", new: "",
		in: "./dispatch", tests: "TestThawedTooEarly",
	},
	{
		guard:  "freeze: what was copied of another moment is compared",
		symbol: "dispatch.resumer.takeUp", old: "if r.source.frozen != nil && len(done) > 0 {", new: "if false {",
		in: "./dispatch", tests: "TestFrozenAgain",
	},
	{
		guard:  "freeze: a state of a frozen source is for one that is frozen",
		symbol: "ends.Describe", old: "plan.Source.Version = frozenVersion", new: "_ = frozenVersion",
		in: "./internal/dispatch/ends", tests: "TestDescribeDevice",
	},
	{
		guard:  "a state of a live source is for a live one",
		symbol: "ends.Describe", old: "plan.Source.Version = liveVersion", new: "_ = liveVersion",
		in: "./internal/dispatch/ends", tests: "TestDescribeFiles",
	},
	{
		guard:  "nice: others are given way to",
		symbol: "pace.niceness.adjustRate", old: "if others && busy.mean() > n.bound() {", new: "if others && busy.mean() > n.bound() && n.log == nil {",
		in: "./internal/dispatch/pace", tests: "TestNiceGivesWay",
	},
	{
		guard:  "nice: the copy comes to its end",
		symbol: "pace.niceness.backOff", old: "max(n.limit/2, niceFloor)", new: "n.limit / 2",
		in: "./internal/dispatch/pace", tests: "TestNiceGoesOn",
	},
	{
		guard:  "edges of a file are written exactly",
		symbol: "emulation.File.WriteUnit", old: "\tif d.edges != nil {\n\t\treturn 1\n\t}\n", new: "",
		in: "./emulation", tests: "TestEdges",
	},
	{
		guard:  "a plan sees what another copy writes to",
		symbol: "ends.Files.CheckLocks", old: "l.write(l.dst.locks.CheckToWrite, l.dst.locks.CheckRange, ranges)", new: "l.write(l.dst.locks.CheckToWrite, l.dst.locks.CheckRange, nil)",
		in: "./cmd/dmcopy", tests: "TestLockedFiles",
	},
	{
		guard:  "what is written exactly is not merged",
		symbol: "emulation.newEnd", old: "unit: int64(d.WriteUnit())", new: "unit: int64(d.BlockSize())",
		in: "./emulation", tests: "TestThreads",
	},
	{
		guard:  "locks of others on a file that is written",
		symbol: "blockio.writable", old: "err := unused(fd, writerForbids)", new: "err := unused(fd, nil)",
		in: "./internal/blockio", tests: "TestLocks",
	},
	{
		guard:  "locks of others on a file that is read",
		symbol: "blockio.Locks.ToRead", old: "return unused(fd, readerForbids)", new: "return nil",
		in: "./internal/blockio", tests: "TestLocks",
	},
	{
		guard:  "locks of processes",
		symbol: "blockio.Locks.ToRead", old: "if err := vacant(fd, unix.F_RDLCK, 0, copyGate); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/blockio", tests: "TestLocks",
	},
	{
		guard:  "copies tell each other from others",
		symbol: "blockio.Locks.ToWrite", old: "return lock(fd, unix.F_RDLCK, copyWrites, 1)", new: "return nil",
		in: "./internal/blockio", tests: "TestCopiesShareAFile",
	},
	{
		guard:  "two copies do not write to the same bytes",
		symbol: "ends.Files.write", old: "for _, run := range bounded(byterange.Runs(ranges)) {", new: "for _, run := range bounded(byterange.Runs(ranges))[:0] {",
		in: "./cmd/dmcopy", tests: "TestLockedFiles",
	},
	{
		guard:  "files are locked before they are copied",
		symbol: "dispatch.run.prepare", old: "if err := r.dest.files.Lock(r.job.Ranges); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./cmd/dmcopy", tests: "TestLockedFiles",
	},
	{
		guard:  "a destination file is in its place in the end",
		symbol: "dispatch.destination.findable", old: "if err := d.inPlace(); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "TestDestinationFileIsTaken",
	},
	{
		guard:  "the name of a destination file is durable before the copy is said to be",
		symbol: "dispatch.destination.findable", old: "return d.files.SyncName()", new: "return nil",
		in: "./dispatch", tests: "TestNameOfDestination",
	},
	{
		guard:  "names are made durable by their directory",
		symbol: "durable.Directory", old: "err := dir.Sync()", new: "err := error(nil)",
		in: "./internal/durable", tests: "TestName",
	},
	{
		guard:  "names of directories that cannot be synced are made durable with the file system",
		symbol: "durable.Directory", old: "return FileSystem(int(dir.Fd()))", new: "return err",
		in: "./internal/durable", tests: "TestWithoutSync",
	},
	{
		guard:  "names of directories that cannot be opened are made durable with the file system",
		symbol: "durable.Name", old: "return FileSystem(fd)", new: "return nil",
		in: "./internal/durable", tests: "TestName",
	},
	{
		guard:  "files: the name of one that a destination is stored in is durable",
		symbol: "ends.Files.SyncName", old: "return of(l.dstName, l.dstBelow.syncNames())", new: "return nil",
		in: "./internal/dispatch/ends", tests: "TestNameOnDisk",
	},
	{
		guard:  "a destination file that was cut off is not made longer again",
		symbol: "blockio.Status.Whole", old: "size < int64(s.file.opened.Size) {", new: "size < 0 {",
		in: "./dispatch", tests: "TestDestinationFileIsTaken",
	},
	{
		guard:  "a destination file that was written is no hole in the end",
		symbol: "dispatch.run.finish", old: "if err := r.dest.filled(ctx, r.job.Ranges); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./dispatch", tests: "TestDestinationFileIsPunched",
	},
	{
		guard:  "a hole of the destination is right where the source holds zeroes",
		symbol: "dispatch.base.differs", old: "if err != nil || len(found.Mismatches) == 0 {\n\t\treturn nil, err\n\t}\n\treturn &found.Mismatches[0], nil", new: "return &emulation.Mismatch{}, err",
		in: "./dispatch", tests: "TestDestinationFileIsPunched",
	},
	{
		guard:  "state: a rate file that is gone keeps no copy from being resumed",
		symbol: "main.rateFlags.source", old: "case errors.Is(err, fs.ErrNotExist) && resumed:", new: "case errors.Is(err, fs.ErrNotExist) && len(r.path) == 0:",
		in: "./cmd/dmcopy", tests: "TestScripts",
	},
	{
		guard:  "a hole of the destination is right where a source that may change had one",
		symbol: "dispatch.destination.allData", old: "return other == 0 &&", new: "return other >= 0 ||",
		in: "./dispatch", tests: "TestHoleOfALiveSource",
	},
	{
		guard:  "a source file has not changed",
		symbol: "dispatch.run.unwritten", old: "errors.Join(users, r.unmodified(ctx, equal && users == nil))", new: "users",
		in: "./dispatch", tests: "TestSourceFileChanges",
	},
	{
		guard:  "a failure ends its batch",
		symbol: "hostcopy.Host.move", old: "\t\t\t\tstop(errStop)\n", new: "",
		in: "./dispatch", tests: "TestNoSpace",
	},
	{
		guard:  "what failed is not progress",
		symbol: "emulation.job.settle", old: "w.intact(piece, 0, j.watch.Done)", new: "j.watch.Done(piece)",
		in: "./dispatch", tests: "TestNoSpace",
	},
	{
		guard:  "windows end somewhere",
		symbol: "window.Fit", old: "min(max(bytes, 1), MaxSize)", new: "max(bytes, 1)",
		in: "./internal/dispatch/window", tests: "TestHugeWindow",
	},
	{
		guard:  "the largest number is the largest",
		symbol: "window.Truncate", old: "if f >= math.MaxInt64 {", new: "if f > 0 && f < 0 {",
		in: "./internal/dispatch/pace", tests: "TestHugeRates",
	},
	{
		guard:  "the last block of the longest file",
		symbol: "emulation.newFile", old: "size > math.MaxInt64-int64(f.BlockSize()) {", new: "size > math.MaxInt64 {",
		in: "./emulation", tests: "TestLargestFile",
	},
	{
		guard:  "in use: the ends are claimed",
		symbol: "ends.claims.take", old: "facts.Dev.Minor, blockio.Exclusive)", new: "facts.Dev.Minor, 0)",
		in: "./internal/dispatch/ends", tests: "TestClaims",
	},
	{
		guard:  "in use: a source is claimed",
		symbol: "ends.opener.claimStill", old: "err := c.still(ctx, o.facts)", new: "err := error(nil)",
		in: "./internal/dispatch/ends", tests: "TestClaims",
	},
	{
		guard:  "in use: what is written to is no source of others",
		symbol: "ends.claims.take", old: "return has.Locks().Unmark(readMark)", new: "return nil",
		in: "./internal/dispatch/ends", tests: "TestClaims",
	},
	{
		guard:  "in use: a source that others may write to",
		symbol: "ends.opener.refuseLive", old: "if u.Kind.Writes() && (worst", new: "if u.Kind == inuse.MountedRW && (worst",
		in: "./internal/dispatch/ends", tests: "TestOpenRefuses",
	},
	{
		guard:  "in use: other mount namespaces",
		symbol: "inuse.views.all", old: "if !ok || seen[from] {", new: "if ok || seen[from] {",
		in: "./internal/inuse", tests: "TestNamespaces",
	},
	{
		guard:  "in use: a process below another root does not stand for its mount namespace",
		symbol: "inuse.views.viewpoint", old: "return viewpoint{namespace, root}, err == nil", new: `_ = root; return viewpoint{namespace, ""}, err == nil`,
		in: "./internal/inuse", tests: "TestNamespaces",
	},
	{
		guard:  "in use: a read-only holder is one that the kernel calls so",
		symbol: "inuse.users.made", old: "if is {", new: "if is || true {",
		in: "./internal/inuse", tests: "TestFileUsers",
	},
	{
		guard:  "in use: loop devices",
		symbol: "inuse.users.stored", old: "if l.storage != id {", new: "if true {",
		in: "./internal/inuse", tests: "TestFileUsers",
	},
	{
		guard:  "in use: files of loop devices are known by their numbers",
		symbol: "inuse.readLoop", old: "l.file, l.storage = bound.File, bound.ID", new: `l.file, l.storage = bound.File, ""`,
		in: "./internal/dispatch/ends", tests: "TestLoopWithoutName",
	},
	{
		guard:  "in use: targets of the kernel",
		symbol: "inuse.users.stored", old: "e.id == id && !u.reaches(e)", new: `e.id == "" && !u.reaches(e)`,
		in: "./internal/inuse", tests: "TestFileUsers",
	},
	{
		guard:  "in use: a process has it open for writing",
		symbol: "inuse.users.stored", old: "if w.id == id {", new: "if false {",
		in: "./internal/inuse", tests: "TestFileUsers",
	},
	{
		guard:  "in use: files that are mounted themselves",
		symbol: "inuse.users.stored", old: "return m.SourceID == id", new: "return false",
		in: "./internal/inuse", tests: "TestMountedFiles",
	},
	{
		guard:  "in use: files that are mounted in other namespaces have their names there",
		symbol: "inuse.views.seenBy", old: "names{v.Root}.file(m.Source, seer.root())", new: `names{v.Root}.file(m.Source, "")`,
		in: "./internal/inuse", tests: "TestMountedFiles",
	},
	{
		guard:  "in use: the output of this very process",
		symbol: "ends.opener.refuseOutput", old: "if u.Kind != inuse.Output {", new: "if true {",
		in: "./cmd/dmcopy", tests: "TestOutputIsNoEnd",
	},
	{
		guard:  "in use: the output, whatever a source may suffer",
		symbol: "ends.openSource", old: "if opts.Freeze || opts.LiveSource {", new: "if false {",
		in: "./cmd/dmcopy", tests: "TestOutputIsNoEnd",
	},
	{
		guard:  "in use: not even the reason is written over an end",
		symbol: "main.app.fail", old: "\ta.leaveEnds(err, asJSON)\n", new: "",
		in: "./cmd/dmcopy", tests: "TestOutputIsNoEnd",
	},
	{
		guard:  "in use: threads with descriptors of their own",
		symbol: "inuse.processes.writtenByAny", old: "if tid == pid || p.shareFiles(pid, tid) {", new: "if true {",
		in: "./internal/inuse", tests: "TestWritersOfThreads",
	},
	{
		guard:  "in use: tables of descriptors are compared",
		symbol: "inuse.processes.shareFiles", old: "return errno == 0 && order == 0", new: "return errno == 0 || order == 0",
		in: "./internal/inuse", tests: "TestWriters",
	},
	{
		guard:  "in use: a process lives as long as any of its threads",
		symbol: "inuse.processes.program", old: "if !ended(err) {", new: "if true {",
		in: "./internal/inuse", tests: "TestWriters",
	},
	{
		guard:  "in use: disks by character devices",
		symbol: "inuse.processes.written", old: "id = names(p).behind(sysfs.NodeDev(info))", new: `id = ""`,
		in: "./internal/inuse", tests: "TestWritersByCommands",
	},
	{
		guard:  "in use: a hidden process has it open for writing",
		symbol: "inuse.users.outOfSight", old: "if !file.written(u.mounts) {", new: "if true {",
		in: "./internal/inuse", tests: "TestWriters",
	},
	{
		guard:  "in use: what this process has open is no use by others",
		symbol: "inuse.users.outOfSight", old: "slices.ContainsFunc(own, func(o opened) bool { return o.id == id })", new: "len(own) < 0",
		in: "./internal/inuse", tests: "TestOwnDescriptor",
	},
	{
		guard:  "in use: a process has locked it (flock)",
		symbol: "inuse.users.asked", old: "p := u.processes.process(l.pid); u.processes.isAnother(p)", new: "p := u.processes.process(l.pid); false",
		in: "./internal/inuse", tests: "TestFlocks",
	},
	{
		guard:  "in use: a lock for reading is no writer",
		symbol: "inuse.parseFlock", old: `if words[3] == "READ" {`, new: "if false {",
		in: "./internal/inuse", tests: "TestWriters",
	},
	{
		guard:  "in use: swap files",
		symbol: "inuse.users.stored", old: "if slices.Contains(s.ids, id) {", new: "if false {",
		in: "./internal/inuse", tests: "TestFileUsers",
	},
	{
		guard:  "in use: other paths to a disk",
		symbol: "sysblock.FS.OtherPaths", old: "if !same {", new: "if !same || true {",
		in: "./internal/inuse", tests: "TestOtherPaths",
	},
	{
		guard:  "in use: a disk of the same size whose name cannot be read",
		symbol: "sysblock.FS.isCalled", old: "unsized == nil && its != size", new: "unsized == nil || its != size",
		in: "./internal/inuse", tests: "TestOddPath",
	},
	{
		guard:  "in use: the disk of a partition",
		symbol: "inuse.Users", old: "if facts.Part != nil {", new: "if facts.Part == nil {",
		in: "./internal/inuse", tests: "TestDiskOfPartition",
	},
	{
		guard:  "in use: devices that share storage with a destination",
		symbol: "ends.opener.claimUnused", old: "if err := (sharing{o}).refuseDestination(ctx); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/dispatch/ends", tests: "TestShared|TestSharedLoops",
	},
	{
		guard:  "in use: devices that share storage with a source",
		symbol: "ends.opener.claimStill", old: "if err := (sharing{o}).refuseSource(ctx); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/dispatch/ends", tests: "TestShared|TestSharedLoops",
	},
	{
		guard:  "in use: a process has the file of a loop device open",
		symbol: "inuse.Used", old: "u.use(w.id, Use{", new: `u.use("", Use{`,
		in: "./internal/dispatch/ends", tests: "TestSharedLoops",
	},
	{
		guard:  "in use: what is not understood may lie anywhere below",
		symbol: "remap.Footprint.walkLayer", old: "f.enterAll(n, below, nil)\n", new: "",
		in: "./remap", tests: "TestFootprint",
	},
	{
		guard:  "in use: a device whose place is not known lies everywhere",
		symbol: "remap.Footprint.Overlaps", old: "if f.blind || o.blind {", new: "if false {",
		in: "./remap", tests: "TestFootprintUnknown",
	},
	{
		guard:  "in use: volumes of one pool do not use each other",
		symbol: "remap.Footprint.Overlaps", old: "|| a.coordinated && b.coordinated", new: "",
		in: "./internal/layout", tests: "TestWhoSharesArranged",
	},
	{
		guard:  "in use: stripes lie beside what is beside them",
		symbol: "dmtable.striped.reach", old: "Len: (n + row - 1) / row * m.chunk", new: "Len: n + 0*row",
		in: "./internal/layout", tests: "TestWhoShares",
	},
	{
		guard:  "in use: a device that is built on a destination while it is written",
		symbol: "dispatch.destination.flush", old: "d.findable(), d.stillUnused(ctx), d.", new: "d.findable(), d.",
		in: "./dispatch", tests: "TestTaken",
	},
	{
		guard:  "in use: files, where /sys is missing",
		symbol: "ends.opener.uses", old: "if err := refuseWithoutSys(o.sys, o.name); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/dispatch/ends", tests: "TestFilesWithoutSys",
	},
	{
		guard:  "in use: processes that cannot be inspected are reported",
		symbol: "inuse.processes.closed", old: "return errors.Is(err, fs.ErrPermission)", new: "return false",
		in: "./internal/inuse", tests: "TestUnseen",
	},
	{
		guard:  "a mapped device that is being removed",
		symbol: "sysfs.Dir.Text", old: `if errors.Is(err, syscall.EINVAL) && strings.HasPrefix(attr, "dm/") {`, new: "if false {",
		in: "./internal/sysblock", tests: "TestLeavingBeside",
	},
	{
		guard:  "gone: what is done on a disk that is gone stays done",
		symbol: "dispatch.reviewer.review", old: "if lost && r.layout.WasOnMissing(was, moved) {", new: "if false && r.layout.WasOnMissing(was, moved) {",
		in: "./dispatch", tests: "TestDiskGoneInBetween",
	},
	{
		guard:  "gone: what is recorded of a disk that is gone stays recorded",
		symbol: "dispatch.reviewer.withdrawMoved", old: "if r.layout.DisksMissing(ctx) {", new: "if r.layout.DisksMissing(ctx) && false {",
		in: "./dispatch", tests: "TestDiskGoneInBetween",
	},
	{
		guard:  "gone: a copy that fails looks whether a disk is gone",
		symbol: "track.Layout.WithMissing", old: "if l.plan != nil {", new: "if false {",
		in: "./dispatch", tests: "TestDiskGoneInBetween",
	},
	{
		guard:  "gone: a disk that is on its way out is gone",
		symbol: "layout.devices.look", old: "case n.Leaf != nil && n.Size > 0 && state.Size == 0:", new: "case false:",
		in: "./internal/layout", tests: "TestChangesOnTheWayOut",
	},
	{
		guard:  "gone: nothing is copied again to a disk that is gone",
		symbol: "dispatch.reviewer.review", old: "if lost {", new: "if lost && false {",
		in: "./dispatch", tests: "TestDiskGoneInBetween",
	},
	{
		guard:  "mapped pages dropped at every level",
		symbol: "dispatch.caches.touch", old: "max(part, c.touched[n.Dev].part)", new: "min(part, machine.PartSource)",
		in: "./dispatch", tests: "TestStaleMappings",
	},
	{
		guard:  "stale pages dropped when a copy ends early",
		symbol: "dispatch.destination.endEarly", old: `return failure.During("flush", d.caches.dropStale(ctx))`, new: "return nil",
		in: "./dispatch", tests: "TestStaleMappings",
	},
	{
		guard:  "stale pages of partitions dropped",
		symbol: "dispatch.caches.touch", old: "part = machine.PartDestination", new: "part = machine.PartBelow",
		in: "./dispatch", tests: "TestStalePartitions",
	},
	{
		guard:  "freeze: a file system that is mounted where nobody sees it",
		symbol: "ends.freezing.refuseNotMounted", old: "if !errors.Is(err, unix.EBUSY) {", new: "if true {",
		in: "./internal/dispatch/ends", tests: "TestHiddenMount",
	},
	{
		guard:  "a source device that could not be written back is refused",
		symbol: "dispatch.caches.unwrittenBack", old: "case t.part >= machine.PartBelow:", new: "case true:",
		in: "./cmd/dmcopy", tests: "TestExitCases",
	},
	{
		guard:  "a comparison that was interrupted has not failed",
		symbol: "dispatch.verifier.compareListed", old: "err = failure.Interrupted(ctx)", new: "",
		in: "./dispatch", tests: "TestVerifyInterrupted",
	},
	{
		guard:  "zeroes instead of bad sectors are no way out for what is only compared",
		symbol: "main.uncomparedEnd", old: "small := shrunkEnd(err, job); small != err {\n\t\treturn small", new: "small := shrunkEnd(err, job); true {\n\t\treturn small",
		in: "./cmd/dmcopy", tests: "TestWayOfUnreadableEnd",
	},
	{
		guard:  "nothing is begun without room for files",
		symbol: "main.refuseStarved", old: "if failure.TooManyFiles(err) {", new: "if false {",
		in: "./cmd/dmcopy", tests: "TestFewFiles",
	},
	{
		guard:  "too many open files are a refusal, and not a failure",
		symbol: "main.starved", old: "case !failure.TooManyFiles(err),", new: "case true,",
		in: "./cmd/dmcopy", tests: "TestStarved",
	},
	{
		guard:  "what was copied in part has its reason in the report",
		symbol: "hostcopy.Host.move", old: "h.tally(steps, part.Dst, part.Len)", new: "",
		in: "./dispatch", tests: "TestSumsOfAnyReport|TestReasonsOfHalfAWindow",
	},
	{
		guard:  "what could not be read has its reason in the report",
		symbol: "hostcopy.Host.giveUp", old: "h.tally(steps, f.Op.Dst, f.Op.Len)", new: "",
		in: "./dispatch", tests: "TestUnreadable|TestRandomDamage",
	},
	{
		guard:  "what was copied counts for the reasons that it was copied for",
		symbol: "hostcopy.Host.tally", old: "dst, bytes = dst+n, bytes-n", new: "bytes -= n",
		in: "./dispatch", tests: "TestReasonsOfHalfAWindow",
	},
	{
		guard:  "a state file in an append-only directory is refused before it is made",
		symbol: "journal.openDirectory", old: "err == nil && appendOnly(int(f.Fd()))", new: "false",
		in: "./cmd/dmcopy", tests: "TestExitCases",
	},
	{
		guard:  "a device that was made smaller is not taken for one with bad sectors",
		symbol: "main.shrunkEnd", old: "has < end.Device.Size()", new: "has < 0",
		in: "./cmd/dmcopy", tests: "TestShrunkEnd",
	},
	{
		guard:  "the state does not take the place of the output",
		symbol: "main.isOutput", old: "err == nil && os.SameFile(named, open)", new: "err == nil && os.SameFile(named, open) && false",
		in: "./cmd/dmcopy", tests: "TestExitCases",
	},
	{
		guard:  "dirty partitions of a source written back",
		symbol: "dispatch.caches.touch", old: "part = max(part, machine.PartSource)", new: "part = max(part, machine.PartBelowSource)",
		in: "./dispatch", tests: "TestDirtyPartition",
	},
	{
		guard:  "dirty partitions of a source written back by the kernel",
		symbol: "kernel.Machine.DropCaches", old: "if part == machine.PartSource || part == machine.PartDestination {", new: "if part == machine.PartDestination {",
		in: "./internal/dispatch/kernel", tests: "TestDirtyPartition",
	},
	{
		guard:  "a source file that could not be written back is refused",
		symbol: "ends.opener.open", old: "if err = writtenBack(o.name, file); file.ID() != o.id {", new: "if file.ID() != o.id {",
		in: "./cmd/dmcopy", tests: "TestExitCases",
	},
	{
		guard:  "mapped pages dropped by the kernel",
		symbol: "blockio.Cache.unmap", old: "_, err := c.file.Pwrite(nothing, off)", new: "_, err := 0, error(unix.EINVAL)",
		in: "./internal/blockio", tests: "TestUnmap",
	},
	{
		guard:  "errors of writing back",
		symbol: "blockio.Cache.Invalidate", old: "if err := c.writeBack(); err != nil {", new: "if err := error(nil); err != nil {",
		in: "./internal/blockio", tests: "TestWriteBackFails",
	},
	{
		guard:  "a flush is not called off",
		symbol: "dispatch.destination.flush", old: "ctx = context.WithoutCancel(ctx)\n\terr := errors.Join", new: "err := errors.Join",
		in: "./dispatch", tests: "TestInterruptedFlush",
	},
	{
		guard:  "ring: it is not closed while requests are under way",
		symbol: "uring.Ring.Close", old: "if r.underWay > 0 {", new: "if false {",
		in: "./internal/uring", tests: "TestWaiting",
	},
	{
		guard:  "ring: memory across the border of what is registered is not",
		symbol: "uring.Ring.transfer", old: " && at/r.part == (at+len(p)-1)/r.part", new: "",
		in: "./internal/uring", tests: "TestTransfers",
	},
	{
		guard:  "ring: a call returns when none of its transfers is under way",
		symbol: "emulation.ring.run", old: "<-b.over\n", new: "",
		in: "./emulation", tests: "TestRingCanceled",
	},
	{
		guard:  "ring: what was called off is no failure",
		symbol: "emulation.worker.serve", old: "if w.calledOff {", new: "if false {",
		in: "./emulation", tests: "TestRingCanceled",
	},
	{
		guard:  "ring: a completion is that of the request that was made",
		symbol: "emulation.loop.complete", old: " || l.table[slot].id != id", new: "",
		in: "./emulation", tests: "TestRingTroubles",
	},
	{
		guard:  "ring: what the kernel does not take is transferred otherwise",
		symbol: "emulation.hand.dropped", old: "errors.Is(h.err, errWithdrawn) || ", new: "",
		in: "./emulation", tests: "TestRingTroubles",
	},
	{
		guard:  "ring: a bell that is closed is not rung",
		symbol: "emulation.bell.close", old: "b.fd = -1\n", new: "",
		in: "./emulation", tests: "TestBellClosed",
	},
	{
		guard:  "ring: a file that was cut off is not made longer",
		symbol: "emulation.File.start", old: "verb = \"pwrite\"\n\t\tif err := d.whole(); err != nil {", new: "verb = \"pwrite\"\n\t\tif err := error(nil); err != nil {",
		in: "./emulation", tests: "TestCutOff",
	},
	{
		guard:  "ring: why there is none is told",
		symbol: "emulation.either.open", old: "err != nil {", new: "err == nil {",
		in: "./emulation", tests: "TestNoRing",
	},
	{
		guard:  "ring: devices that are calls are copied by threads",
		symbol: "emulation.job.async", old: "j.src.start != nil && j.dst.start != nil", new: "true",
		in: "./emulation", tests: "TestRingIsChosen",
	},
	{
		guard:  "ring: a descriptor that is closed is not used",
		symbol: "blockio.File.Use", old: "f.fd < 0 {", new: "false {",
		in: "./internal/blockio", tests: "TestUse",
	},
	{
		guard:  "ring: a transfer is under way until the kernel has answered",
		symbol: "inflight.watched.Async", old: "end := t.End\n", new: "over()\n\t\tend := t.End\n",
		in: "./internal/dispatch/inflight", tests: "TestWatchAsync",
	},
	{
		guard:  "ring: what the kernel cancels by itself is transferred otherwise",
		symbol: "emulation.hand.dropped", old: " || errors.Is(h.err, unix.ECANCELED) && h.ctx.Err() == nil", new: "",
		in: "./emulation", tests: "TestRingTroubles",
	},
	{
		guard:  "ring: an answer to a request of a hand that is gone is nobody else's",
		symbol: "emulation.loop.ask", old: "h.id = l.number<<32 | uint64(h.slot)", new: "h.id = (h.id+1<<32)&^(1<<32-1) | uint64(h.slot)",
		in: "./emulation", tests: "TestRingTroubles",
	},
	{
		guard:  "ring: nothing is written behind the end of a file that a loop device is stored in",
		symbol: "ends.wholeDevice.Async", old: "if err := d.below.whole(); err != nil {\n\t\t\treturn emulation.Transfer{}, err\n\t\t}\n", new: "",
		in: "./internal/dispatch/ends", tests: "TestWholeAsync",
	},
	{
		guard:  "ring: who has written to a file that was cut off meanwhile is told",
		symbol: "ends.wholeDevice.Async", old: "err = d.below.whole()\n", new: "err = nil\n",
		in: "./internal/dispatch/ends", tests: "TestWholeAsync",
	},
}
