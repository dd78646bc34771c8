package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/dispatch"
	"github.com/dmcopy/dmcopy/remap"
)

func (a *app) domainsCommand() *cobra.Command {
	var stack stackFlag
	var crossNamespace bool
	cmd := &cobra.Command{
		Use:   "domains [DEV…]",
		Short: "Show which disks can copy by themselves, and which pairs cannot",
		Long: `Show the disks at the bottom of the storage stacks (of the named devices, or of
this machine), by which method each can copy within itself, with which limits,
which disks can copy to another one, and why others cannot. Disks are only asked, never written to.`,
		Example: `  dmcopy domains
  dmcopy domains --json vg/home vg/home-new`,
		ValidArgsFunction: completeDevices(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runDomains(cmd.Context(), args, stack, crossNamespace)
		},
	}
	stack.add(cmd.Flags())
	cmd.Flags().BoolVar(&crossNamespace, crossNamespaceFlag, false, "answer as for dmcopy copy with this flag; nothing is enabled")
	a.addJSON(cmd.Flags(), "disks and pairs")
	return cmd
}

func (a *app) runDomains(ctx context.Context, names []string, stack stackFlag, crossNamespace bool) error {
	w, err := a.world(stack, layersFlag{})
	if err != nil {
		return err
	}
	defer w.close()
	if crossNamespace {
		w.finder.CrossNamespaces(copydomain.CrossForecast, a.log)
	}
	st, devs, err := w.stack(ctx, names)
	if err != nil {
		return err
	}
	leaves := leavesOf(st, devs)
	var own, pairs []copydomain.Pair
	for _, src := range leaves {
		own = append(own, w.Pair(ctx, src, src))
		for _, dst := range leaves {
			if src != dst {
				pairs = append(pairs, w.Pair(ctx, src, dst))
			}
		}
	}
	if a.json {
		return a.domainsJSON(own, pairs)
	}
	return a.domainsText(own, pairs)
}

// leavesOf lists the leaves below the devices, or all leaves with a capacity.
func leavesOf(st *remap.Stack, devs []remap.Dev) []*remap.Node {
	wanted := make(map[remap.Dev]bool)
	for _, dev := range devs {
		for _, n := range st.Under(dev) {
			wanted[n.Dev] = true
		}
	}
	var leaves []*remap.Node
	for _, n := range st.Nodes() {
		if n.Leaf != nil && n.Size > 0 && (len(devs) == 0 || wanted[n.Dev]) {
			leaves = append(leaves, n)
		}
	}
	return leaves
}

// leafJSON is a disk in JSON.
type leafJSON struct {
	Device   remap.Dev         `json:"device"`
	Name     string            `json:"name"`
	Size     int64             `json:"size"`
	Driver   string            `json:"driver"`
	Identity string            `json:"identity"`
	Method   copydomain.Method `json:"method"`
	Domain   string            `json:"domain"`
	Block    int               `json:"block"`
	Limits   string            `json:"limits"`
	Reason   remap.Reason      `json:"reason"`
	Detail   string            `json:"detail"`
}

// pairJSON is a pair of different disks in JSON.
type pairJSON struct {
	Src    string            `json:"src"`
	Dst    string            `json:"dst"`
	Method copydomain.Method `json:"method"`
	Domain string            `json:"domain"`
	Reason remap.Reason      `json:"reason"`
	Detail string            `json:"detail"`
}

func (a *app) domainsJSON(own, pairs []copydomain.Pair) error {
	leaves, others := []leafJSON{}, []pairJSON{}
	for _, p := range own {
		n := p.Src
		leaves = append(leaves, leafJSON{
			Device: n.Dev, Name: n.Name, Size: n.Size.Bytes(), Driver: n.Leaf.Driver, Identity: n.Leaf.Identity,
			Method: p.Method, Domain: p.Domain, Block: p.Block, Limits: p.Limits, Reason: p.Reason, Detail: p.Detail,
		})
	}
	for _, p := range pairs {
		others = append(others, pairJSON{p.Src.Name, p.Dst.Name, p.Method, p.Domain, p.Reason, p.Detail})
	}
	return a.print(struct {
		Schema int        `json:"schema"`
		Leaves []leafJSON `json:"leaves"`
		Pairs  []pairJSON `json:"pairs"`
	}{1, leaves, others})
}

func (a *app) domainsText(own, pairs []copydomain.Pair) error {
	w := bufio.NewWriter(a.out)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DISK\tDEVICE\tSIZE\tCOPIES BY\tDOMAIN\tLIMITS, OR WHY NOT")
	for _, p := range own {
		n := p.Src
		note := p.Limits
		if p.Method == "" {
			note = cmp.Or(p.Detail, words(p.Reason)) + " (" + string(p.Reason) + ")"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Dev, human(n.Size.Bytes()),
			cmp.Or(string(p.Method), "-"), cmp.Or(p.Domain, "-"), note)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	writePairs(w, pairs)
	return w.Flush()
}

// writePairs groups the pairs of different disks by what keeps them apart.
func writePairs(w *bufio.Writer, pairs []copydomain.Pair) {
	if len(pairs) == 0 {
		return
	}
	fmt.Fprintln(w, "\nFrom one disk to another:")
	type group struct {
		first copydomain.Pair
		count int64
	}
	var order []string
	groups := make(map[string]*group)
	for _, p := range pairs {
		key := string(p.Method) + " " + string(p.Reason)
		if p.Method != "" {
			key += " " + p.Detail
		}
		if groups[key] == nil {
			groups[key] = &group{first: p}
			order = append(order, key)
		}
		groups[key].count++
	}
	for _, key := range order {
		g := groups[key]
		what := string(dispatch.MethodHost) + ": " + explainReason(g.first.Reason)
		if g.first.Method != "" {
			what = string(g.first.Method) + ", " + g.first.Limits
			if g.first.Detail != "" {
				what += ": " + g.first.Detail
			}
		}
		fmt.Fprintf(w, "  %s, such as %s to %s: %s\n", plural(g.count, "way"), g.first.Src.Name, g.first.Dst.Name, what)
	}
}
