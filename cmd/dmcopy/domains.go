package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/dmcopy/dmcopy/copydomain"
	"github.com/dmcopy/dmcopy/internal/dispatch/account"
	"github.com/dmcopy/dmcopy/remap"
)

// domainsCmd is dmcopy domains.
type domainsCmd struct{ *app }

func (a domainsCmd) command() *cobra.Command {
	var stack stackFlag
	var crossNamespace bool
	cmd := &cobra.Command{
		Use:   "domains [DEV|FILE…]",
		Short: "Show which disks can copy by themselves, and between which disks",
		Long: `Show the disks below the named devices, or all disks of this machine. For each disk,
domains prints the method by which it can copy within itself, and the limits of that
method. Then it prints which disks can copy to another one, and why others cannot.
dmcopy asks disks for this; it does not write to them.

For files, directories and loop devices, domains prints how their file system copies.
Without names, it does so for each mounted file system that may share blocks.`,
		Example: `  dmcopy domains
  dmcopy domains --json vg/home vg/home-new
  dmcopy domains /srv/images/disk.raw`,
		ValidArgsFunction: completeDevices(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.run(cmd.Context(), args, stack, crossNamespace)
		},
	}
	stack.add(cmd.Flags())
	cmd.Flags().BoolVar(&crossNamespace, crossNamespaceFlag, false, "show what dmcopy copy with this flag could do; this command enables nothing")
	a.addJSON(cmd.Flags(), "disks and pairs")
	return cmd
}

func (a domainsCmd) run(ctx context.Context, names []string, stack stackFlag, crossNamespace bool) error {
	w, err := a.world(stack, layersFlag{})
	if err != nil {
		return err
	}
	defer w.close()
	if crossNamespace {
		w.finder.CrossNamespaces(copydomain.CrossForecast, a.log)
	}
	systems, devices, err := fileSystems(names, stack)
	if err != nil {
		return err
	}
	var leaves []*remap.Node
	if len(names) == 0 || len(devices) > 0 {
		st, devs, err := w.stack(ctx, devices)
		if err != nil {
			return err
		}
		leaves = leavesOf(st, devs)
		systems = append(systems, w.loops(ctx, st, devs)...)
	}
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
		return a.writeJSON(own, pairs, systems)
	}
	return a.writeText(own, pairs, systems)
}

// fileSystems asks those of the files and directories among the names, and returns
// the other names. Without names these are all that are mounted here.
func fileSystems(names []string, stack stackFlag) (systems []copydomain.FileSystem, devices []string, err error) {
	switch {
	case stack.given():
		return nil, names, nil
	case len(names) == 0:
		systems, err = copydomain.SharingMounts()
		return systems, nil, err
	}
	for _, name := range names {
		if st, err := os.Stat(name); err != nil || !st.Mode().IsRegular() && !st.IsDir() {
			devices = append(devices, name)
			continue
		}
		systems = append(systems, copydomain.FileSystemOf(name))
	}
	return systems, devices, nil
}

// loops lists the loop devices at the bottom of the stacks that are stored in files.
func (w *world) loops(ctx context.Context, st *remap.Stack, devs []remap.Dev) (systems []copydomain.FileSystem) {
	for _, n := range below(st, devs) {
		if !copydomain.InFile(n) || n.Size == 0 {
			continue
		}
		p := w.Pair(ctx, n, n)
		kind, _, _ := strings.Cut(p.Domain, ":")
		systems = append(systems, copydomain.FileSystem{
			Path: n.Name, Type: kind, Method: p.Method, Reason: p.Reason, Detail: p.Detail, Domain: p.Domain, Block: p.Block,
		})
	}
	return systems
}

// leavesOf lists the leaves below the devices, or all leaves with a capacity.
func leavesOf(st *remap.Stack, devs []remap.Dev) []*remap.Node {
	return slices.DeleteFunc(below(st, devs), func(n *remap.Node) bool { return n.Leaf == nil || n.Size == 0 })
}

// below lists the devices and all that is below them, or all there are.
func below(st *remap.Stack, devs []remap.Dev) (found []*remap.Node) {
	wanted := make(map[remap.Dev]bool)
	for _, dev := range devs {
		for _, n := range st.Under(dev) {
			wanted[n.Dev] = true
		}
	}
	for _, n := range st.Nodes() {
		if len(devs) == 0 || wanted[n.Dev] {
			found = append(found, n)
		}
	}
	return found
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
	// KernelCopy is what the kernel would copy by itself, in bytes; 0 for nothing.
	KernelCopy int64 `json:"kernel_copy_bytes"`
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

// fileSystemJSON is a file system in JSON.
type fileSystemJSON struct {
	Path   string            `json:"path"`
	Type   string            `json:"type"`
	Method copydomain.Method `json:"method"`
	Domain string            `json:"domain"`
	Block  int               `json:"block"`
	Reason remap.Reason      `json:"reason"`
	Detail string            `json:"detail"`
}

func (a domainsCmd) writeJSON(own, pairs []copydomain.Pair, systems []copydomain.FileSystem) error {
	leaves, others, stores := []leafJSON{}, []pairJSON{}, []fileSystemJSON{}
	for _, f := range systems {
		stores = append(stores, fileSystemJSON{f.Path, f.Type, f.Method, f.Domain, f.Block, f.Reason, f.Detail})
	}
	for _, p := range own {
		n := p.Src
		leaves = append(leaves, leafJSON{
			Device: n.Dev, Name: n.Name, Size: n.Size.Bytes(), Driver: n.Leaf.Driver, Identity: n.Leaf.Identity,
			Method: p.Method, Domain: p.Domain, Block: p.Block, Limits: p.Limits, Reason: p.Reason, Detail: p.Detail,
			KernelCopy: n.Leaf.KernelCopy,
		})
	}
	for _, p := range pairs {
		others = append(others, pairJSON{p.Src.Name, p.Dst.Name, p.Method, p.Domain, p.Reason, p.Detail})
	}
	return a.print(struct {
		Schema int        `json:"schema"`
		Leaves []leafJSON `json:"leaves"`
		Pairs  []pairJSON `json:"pairs"`

		FileSystems []fileSystemJSON `json:"file_systems"`
	}{1, leaves, others, stores})
}

func (a domainsCmd) writeText(own, pairs []copydomain.Pair, systems []copydomain.FileSystem) error {
	w := bufio.NewWriter(a.out)
	if len(own) > 0 || len(systems) == 0 {
		if err := writeDisks(w, own); err != nil {
			return err
		}
	}
	writePairs(w, pairs)
	writeKernelCopy(w, own)
	if len(own) > 0 && len(systems) > 0 {
		fmt.Fprintln(w)
	}
	return errors.Join(writeFileSystems(w, systems), w.Flush())
}

func writeDisks(w io.Writer, own []copydomain.Pair) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DISK\tDEVICE\tSIZE\tCOPIES BY\tDOMAIN\tLIMITS, OR WHY NOT")
	for _, p := range own {
		n := p.Src
		note := p.Limits
		if p.Method == "" {
			note = cmp.Or(p.Detail, words(p.Reason)) + " (" + string(p.Reason) + ")"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", n.Name, n.Dev, human(n.Size.Bytes()),
			cmp.Or(string(p.Method), "-"), cmp.Or(line(p.Domain), "-"), line(note))
	}
	return table.Flush()
}

func writeFileSystems(w io.Writer, systems []copydomain.FileSystem) error {
	if len(systems) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "FILES ON\tCOPIES BY\tDOMAIN\tLIMITS, OR WHY NOT")
	for _, f := range systems {
		note := fmt.Sprintf("blocks of %d bytes", f.Block)
		if f.Method == "" {
			note = cmp.Or(f.Detail, words(f.Reason)) + " (" + string(f.Reason) + ")"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", line(f.Path), cmp.Or(string(f.Method), "-"), cmp.Or(line(f.Domain), "-"), line(note))
	}
	return table.Flush()
}

// writeKernelCopy names the disks that the kernel could have copy by itself, which is not made
// use of.
func writeKernelCopy(w *bufio.Writer, own []copydomain.Pair) {
	var disks []string
	for _, p := range own {
		if n := p.Src; n.Leaf.KernelCopy > 0 {
			disks = append(disks, fmt.Sprintf("%s (%s)", n.Name, human(n.Leaf.KernelCopy)))
		}
	}
	if len(disks) > 0 {
		fmt.Fprintf(w, "\nThis kernel can copy on these disks by itself, up to so much at a time; dmcopy does not use that: %s\n", strings.Join(disks, ", "))
	}
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
		what := string(account.Host) + ": " + explainReason(g.first.Reason)
		if g.first.Method != "" {
			what = string(g.first.Method) + ", " + g.first.Limits
			if g.first.Detail != "" {
				what += ": " + g.first.Detail
			}
		}
		fmt.Fprintf(w, "  %s, such as %s to %s: %s\n", plural(g.count, "way"), g.first.Src.Name, g.first.Dst.Name, what)
	}
}
