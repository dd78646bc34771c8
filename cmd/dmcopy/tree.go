package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/dmcopy/dmcopy/internal/dispatch/plan"
	"github.com/dmcopy/dmcopy/remap"
)

// treeCmd is dmcopy tree.
type treeCmd struct{ *app }

func (a treeCmd) command() *cobra.Command {
	var stack stackFlag
	var layers layersFlag
	cmd := &cobra.Command{
		Use:   "tree [DEV…]",
		Short: "Show the storage stacks of this machine",
		Long: `Show the storage stacks of this machine: each device, and below it the devices that
it is made of. The last columns say what its layers allow:

  disk     dmcopy can follow the blocks down to disks, which may be able to copy them
  host     dmcopy cannot, for the reason shown: the host copies the blocks
  zero     the device reads as zeroes
  error    reads and writes fail

dmcopy domains shows which disks can copy.`,
		Example: `  dmcopy tree
  dmcopy tree vg/home`,
		ValidArgsFunction: completeDevices(-1),
		RunE: func(cmd *cobra.Command, args []string) error {
			layers.roots = len(args) > 0
			return a.run(cmd.Context(), args, stack, layers)
		},
	}
	layers.add(cmd.Flags())
	stack.add(cmd.Flags())
	a.addJSON(cmd.Flags(), "the devices")
	return cmd
}

func (a treeCmd) run(ctx context.Context, names []string, stack stackFlag, layers layersFlag) error {
	w, err := a.world(stack, layers)
	if err != nil {
		return err
	}
	defer w.close()
	st, devs, err := w.stack(ctx, names)
	if err != nil {
		return err
	}
	roots := nodesOf(st, devs)
	if len(devs) == 0 {
		roots = tops(st)
	}
	if a.json {
		return a.writeJSON(st, roots)
	}
	return a.writeText(st, roots)
}

func nodesOf(st *remap.Stack, devs []remap.Dev) []*remap.Node {
	var nodes []*remap.Node
	for _, dev := range devs {
		if n := st.Node(dev); !slices.Contains(nodes, n) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// tops lists the devices that no other device rests on. Those without any
// capacity, such as idle loop devices, are left out.
func tops(st *remap.Stack) []*remap.Node {
	below := make(map[remap.Dev]bool)
	for _, n := range st.Nodes() {
		for _, dev := range lower(n) {
			below[dev] = true
		}
	}
	var found []*remap.Node
	for _, n := range st.Nodes() {
		if !below[n.Dev] && (n.Size > 0 || n.Unread) {
			found = append(found, n)
		}
	}
	return found
}

// lower lists what a device rests on, each device once.
func lower(n *remap.Node) []remap.Dev {
	if n.Layer == nil {
		return []remap.Dev{}
	}
	var devs []remap.Dev
	for _, dev := range n.Layer.Below() {
		if !slices.Contains(devs, dev) {
			devs = append(devs, dev)
		}
	}
	return devs
}

// allowance is what the layers of a device allow on one side, in bytes.
type allowance struct {
	Disk    int64          `json:"disk_bytes"`
	Host    int64          `json:"host_bytes"`
	Zero    int64          `json:"zero_bytes"`
	Error   int64          `json:"error_bytes"`
	Reasons []remap.Reason `json:"reasons"`

	layers []string
}

// allow resolves a whole device for one side.
func allow(st *remap.Stack, n *remap.Node, op remap.Op) (*allowance, error) {
	a := &allowance{Reasons: []remap.Reason{}}
	if n.Unread && n.Size == 0 { // of unknown size
		p := n.Layer.Map(op, 0, 1)
		a.layers, a.Reasons = append(a.layers, p.Layer), append(a.Reasons, p.Reason)
		return a, nil
	}
	for e, err := range st.Resolve(op, remap.Range{Dev: n.Dev, Len: n.Size}) {
		if err != nil {
			return nil, err
		}
		if chain := e.Via.Chain(); len(chain) > 0 && !slices.Contains(a.layers, chain[0].Layer) {
			a.layers = append(a.layers, chain[0].Layer)
		}
		a.add(&e, op)
	}
	return a, nil
}

func (a *allowance) add(e *remap.Extent, op remap.Op) {
	bytes, why := e.Len.Bytes(), e.Reason
	switch {
	case e.Kind == remap.Zero:
		a.Zero += bytes
	case e.Kind == remap.Error:
		a.Error += bytes
	case e.Kind == remap.Data, e.Kind == remap.Replica && op == remap.Read && anyReadable(e.Legs):
		a.Disk += bytes
	case e.Kind == remap.Replica && op == remap.Write:
		a.Host += bytes
		why = plan.ReasonRedundant
	case e.Kind == remap.Replica:
		a.Host += bytes
		why = plan.ReasonNoLeg
	case e.Kind == remap.Cipher:
		a.Host += bytes
		why = plan.ReasonCipher
	default:
		a.Host += bytes
	}
	if why != "" && !slices.Contains(a.Reasons, why) {
		a.Reasons = append(a.Reasons, why)
	}
}

func anyReadable(legs []remap.Leg) bool {
	return slices.ContainsFunc(legs, func(l remap.Leg) bool { return l.Readable })
}

// String is the form for people: "disk", "host (layer:crypt)", "disk 75 %,
// zero 25 %".
func (a *allowance) String() string {
	total := a.Disk + a.Host + a.Zero + a.Error
	var parts []string
	for _, part := range []struct {
		word  string
		bytes int64
	}{{"disk", a.Disk}, {"host", a.Host}, {"zero", a.Zero}, {"error", a.Error}} {
		switch part.bytes {
		case 0:
		case total:
			parts = append(parts, part.word)
		default:
			parts = append(parts, part.word+" "+percent(part.bytes, total))
		}
	}
	if total == 0 && len(a.Reasons) > 0 {
		parts = append(parts, "host")
	}
	text := strings.Join(parts, ", ")
	if len(a.Reasons) > 0 {
		text += " (" + names(a.Reasons) + ")"
	}
	return text
}

// what says what a device is.
func what(n *remap.Node, layers []string) string {
	var text string
	switch {
	case n.Leaf == nil:
		text = strings.Join(layers, "+")
	case n.Leaf.NVMe != nil:
		text = fmt.Sprintf("nvme namespace %d", n.Leaf.NVMe.NSID)
	case n.Leaf.Driver != "":
		text = n.Leaf.Driver + " disk"
	default:
		text = "disk"
	}
	if n.ReadOnly {
		text += ", read-only"
	}
	if n.Transition != "" {
		text += ", " + n.Transition
	}
	return text
}

// deviceJSON is a device in JSON; offsets and sizes are bytes.
type deviceJSON struct {
	Device      remap.Dev   `json:"device"`
	Name        string      `json:"name"`
	Label       string      `json:"label,omitempty"`
	Path        string      `json:"path"`
	Size        int64       `json:"size"`
	BlockSize   int         `json:"block_size"`
	ReadOnly    bool        `json:"read_only"`
	Layers      []string    `json:"layers"`
	Manager     string      `json:"manager,omitempty"`
	Transition  string      `json:"transition,omitempty"`
	Notes       []string    `json:"notes"`
	Below       []remap.Dev `json:"below"`
	Source      *allowance  `json:"source"`
	Destination *allowance  `json:"destination"`
}

// writeJSON lists the devices flat; below tells the tree.
func (a treeCmd) writeJSON(st *remap.Stack, roots []*remap.Node) error {
	devices := []deviceJSON{}
	seen := make(map[remap.Dev]bool)
	for _, root := range roots {
		for _, n := range st.Under(root.Dev) {
			if seen[n.Dev] {
				continue
			}
			seen[n.Dev] = true
			d, err := newDeviceJSON(st, n)
			if err != nil {
				return err
			}
			devices = append(devices, d)
		}
	}
	return a.print(struct {
		Schema  int          `json:"schema"`
		Devices []deviceJSON `json:"devices"`
	}{1, devices})
}

func newDeviceJSON(st *remap.Stack, n *remap.Node) (deviceJSON, error) {
	source, err := allow(st, n, remap.Read)
	if err != nil {
		return deviceJSON{}, err
	}
	destination, err := allow(st, n, remap.Write)
	if err != nil {
		return deviceJSON{}, err
	}
	layers := source.layers
	if layers == nil {
		layers = []string{}
	}
	return deviceJSON{
		Device: n.Dev, Name: n.Name, Label: n.Label, Path: n.Path, Size: n.Size.Bytes(), BlockSize: n.BlockSize,
		ReadOnly: n.ReadOnly, Layers: layers, Manager: n.Owner.Manager, Transition: n.Transition,
		Notes: append([]string{}, n.Notes...), Below: lower(n), Source: source, Destination: destination,
	}, nil
}

// treeRow is a line of the tree.
type treeRow struct{ name, dev, size, what, source, destination string }

// writeText prints the tree. What is below a device is printed once.
func (a treeCmd) writeText(st *remap.Stack, roots []*remap.Node) error {
	t := treePrinter{st: st, done: make(map[remap.Dev]bool)}
	t.rows = append(t.rows, treeRow{"NAME", "DEVICE", "SIZE", "WHAT IT IS", "AS SOURCE", "AS DESTINATION"})
	for _, root := range roots {
		if err := t.visit(root, "", ""); err != nil {
			return err
		}
	}
	w := bufio.NewWriter(a.out)
	t.print(w)
	t.explain(w)
	return w.Flush()
}

type treePrinter struct {
	st   *remap.Stack
	done map[remap.Dev]bool
	rows []treeRow
	// notes and reasons are explained below the tree, in order of appearance.
	notes   []string
	reasons []remap.Reason
}

func (t *treePrinter) visit(n *remap.Node, branch, indent string) error {
	source, err := allow(t.st, n, remap.Read)
	if err != nil {
		return err
	}
	destination, err := allow(t.st, n, remap.Write)
	if err != nil {
		return err
	}
	below := lower(n)
	name := line(n.DisplayName())
	repeated := t.done[n.Dev] && len(below) > 0
	if repeated {
		name += " …"
	}
	row := treeRow{branch + name, n.Dev.String(), human(n.Size.Bytes()), what(n, source.layers), source.String(), destination.String()}
	if n.ReadOnly {
		row.destination = "no: read-only"
	}
	t.rows = append(t.rows, row)
	if repeated {
		return nil
	}
	for _, text := range n.Notes {
		if t.done[n.Dev] { // has been noted
			break
		}
		t.notes = append(t.notes, line(n.DisplayName())+": "+line(text))
	}
	for _, why := range slices.Concat(source.Reasons, destination.Reasons) {
		if !slices.Contains(t.reasons, why) {
			t.reasons = append(t.reasons, why)
		}
	}
	t.done[n.Dev] = true
	for i, dev := range below {
		branch, next := "├─", "│ "
		if i == len(below)-1 {
			branch, next = "└─", "  "
		}
		if err := t.visit(t.st.Node(dev), indent+branch, indent+next); err != nil {
			return err
		}
	}
	return nil
}

func (t *treePrinter) print(w *bufio.Writer) {
	var width [5]int
	for _, r := range t.rows {
		for i, cell := range r.cells()[:5] {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, r := range t.rows {
		var line strings.Builder
		for i, cell := range r.cells() {
			line.WriteString(cell)
			if i < 5 {
				line.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// explain prints in words what the tree says in slugs, and what state the
// layers are in.
func (t *treePrinter) explain(w io.Writer) {
	for _, why := range t.reasons {
		if text := words(why); text != "" {
			fmt.Fprintf(w, "%s: %s\n", why, text)
		}
	}
	for _, note := range t.notes {
		fmt.Fprintln(w, note)
	}
}

func (r treeRow) cells() []string {
	return []string{r.name, r.dev, r.size, r.what, r.source, r.destination}
}
