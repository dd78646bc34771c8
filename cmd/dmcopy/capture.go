package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dmcopy/dmcopy/internal/dispatch/ends"
	"github.com/dmcopy/dmcopy/internal/dispatch/kernel"
	"github.com/dmcopy/dmcopy/internal/layout"
	"github.com/dmcopy/dmcopy/remap"
)

// captureCmd is dmcopy capture.
type captureCmd struct{ *app }

func (a captureCmd) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "capture [DEV…]",
		Short: "Write a snapshot of the storage stack as JSON, without secrets",
		Long: `Write a snapshot of the storage stack as JSON on stdout: the named devices, or all
devices, with everything below them, and what their disks can copy by themselves. The
snapshot contains names, sizes, serial numbers and the layout, but no keys and no data.
map, plan, tree and domains read it with --stack, on any machine and without root.

To read a thin volume's map, dmcopy takes its pool's metadata snapshot for a moment.`,
		Example: `  dmcopy capture > stack.json
  dmcopy plan --stack stack.json vg/home vg/home-new`,
		ValidArgsFunction: completeDevices(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.run(cmd.Context(), args)
		},
	}
	a.addJSON(cmd.Flags(), "the snapshot, which is always written")
	return cmd
}

func (a captureCmd) run(ctx context.Context, names []string) error {
	reader := layout.NewReader(layout.Options{TakeMetadataSnaps: true, Log: a.log})
	defer a.hold()() // until the rest is closed
	defer reader.Close()
	machine := kernel.New(reader, a.log)
	defer machine.Close()
	var devs []remap.Dev
	for _, name := range names {
		dev, err := ends.FindDevice(thisMachine, name)
		if err != nil {
			return err
		}
		devs = append(devs, dev)
	}
	s, err := reader.Read(ctx, devs...)
	if err != nil {
		return unreadable(err)
	}
	st, err := s.Stack()
	if err != nil {
		return err
	}
	for i := range s.Nodes {
		leaf := st.Node(s.Nodes[i].Dev)
		if leaf.Leaf == nil {
			continue
		}
		p := machine.Pair(ctx, leaf, leaf)
		s.Nodes[i].Offload = &layout.Offload{
			Method: string(p.Method), Reason: p.Reason, Detail: p.Detail, Domain: p.Domain, Block: p.Block, Limits: p.Limits,
		}
	}
	a.answered.Store(true)
	return s.Write(a.out)
}
