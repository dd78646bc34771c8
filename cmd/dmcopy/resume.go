package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/journal"
)

// resumeCmd is dmcopy resume, and dmcopy status.
type resumeCmd struct{ *app }

func (a resumeCmd) command() *cobra.Command {
	progress := choice[string]{progressAuto, []string{progressAuto, progressTTY, progressPlain, progressJSON, progressNone}}
	var rate rateFlags
	cmd := &cobra.Command{
		Use:   "resume FILE",
		Short: "Go on with an interrupted copy",
		Long: `Go on with the copy whose state file is FILE. resume runs the command that began the
copy again, in the same directory and with the same flags. If the copy is complete,
resume does nothing; to copy again, run dmcopy copy with --state FILE.

With --rate or --rate-file, resume replaces the rate of the first run. If the first run had
a --rate-file that no longer exists, resume warns and copies without a limit. If it had a
file of --ranges or --used-map, resume needs the same file again.

resume writes nothing if the source, the destination, their sizes or the ranges are not
what they were, or if it sees that the contents of the source have changed.`,
		Example: `  dmcopy copy --state /var/lib/move.state vg/a vg/b
  dmcopy resume /var/lib/move.state`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.replaceRate(cmd.Flags(), rate); err != nil {
				return err
			}
			return a.resume(cmd.Context(), args[0], cmd.Flags())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Var(&progress, "progress", "show progress on stderr; auto is tty on a terminal, else none")
	limit := timeout()
	flags.Var(&limit, "timeout", "stop after this `TIME`, or never")
	rate.add(flags)
	a.addJSON(flags, "the report")
	return cmd
}

// resume runs the command of the state file again.
func (a resumeCmd) resume(ctx context.Context, file string, flags *pflag.FlagSet) error {
	path, err := absolute(file)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err != nil {
		return explainState(file, &journal.Error{Path: file, Err: err})
	}
	state, err := journal.Open(path)
	if err != nil {
		return explainState(file, err)
	}
	directory, command := state.Command()
	begun, unfinished := !state.Empty(), state.Unfinished()
	if err := state.Close(); err != nil {
		return err
	}
	switch {
	case begun && !unfinished:
		return a.alreadyComplete(path)
	case !begun:
		return explainState(file, &journal.Error{Path: file, Err: journal.ErrEmpty})
	}
	flagged := overrides(path, flags) // before they are defaults again
	again := a.rootCommand()
	if cmd, _, err := again.Find(command); err != nil || cmd.Name() != "copy" {
		return &failure.Refusal{Thing: "the state file " + file, Reason: "is not of a copy", Kind: failure.ErrRefused}
	}
	if err := os.Chdir(directory); err != nil {
		return &failure.Refusal{Thing: "the state file " + file, Reason: fmt.Sprintf("belongs to a copy from a directory that cannot be entered: %v", err),
			Way: "run the copy itself", Kind: failure.ErrRefused}
	}
	if err := a.lists(file, command); err != nil {
		return err
	}
	a.args, a.resumed = withFlags(command, flagged), true
	again.SetArgs(a.args)
	return again.ExecuteContext(ctx)
}

// lists refuses to go on with a copy of ranges that stood in a file which is gone.
func (a resumeCmd) lists(state string, command []string) error {
	cmd, rest, err := a.rootCommand().Find(command)
	if err != nil || cmd.ParseFlags(rest) != nil {
		return nil // what is wrong with it, the command itself says
	}
	for _, name := range []string{"ranges", usedMapFlag, oldMapFlag} {
		flag := cmd.Flags().Lookup(name)
		if flag == nil || flag.Value.String() == "" {
			continue
		}
		path := flag.Value.String()
		if name == "ranges" && path == "-" {
			continue
		}
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return &failure.Refusal{Thing: "the state file " + state, Kind: failure.ErrRefused,
				Reason: fmt.Sprintf("is of a copy of what %s lists (--%s), and that file is gone", shown(path), name),
				Way:    "put it back as it was"}
		}
	}
	return nil
}

// overrides are the flags that replace those of the command.
func overrides(path string, flags *pflag.FlagSet) []string {
	words := []string{"--state=" + path, "--restart=false"}
	flags.Visit(func(f *pflag.Flag) {
		if f.Name != "rate" && f.Name != "rate-file" { // see replaceRate
			words = append(words, "--"+f.Name+"="+f.Value.String())
		}
	})
	return words
}

// replaceRate has a rate replace that of the first run, if there is one. Its file is found
// from here, and not from the directory of the first run.
func (a resumeCmd) replaceRate(flags *pflag.FlagSet, rate rateFlags) error {
	if !flags.Changed("rate") && !flags.Changed("rate-file") {
		return nil
	}
	if rate.file != "" {
		path, err := absolute(string(rate.file))
		if err != nil {
			return err
		}
		rate.file = fileFlag(path)
	}
	if _, err := rate.source(a.log, false); err != nil {
		return err
	}
	a.rate = &rate
	return nil
}

// withFlags adds flags to a command line, before what is not to be read as flags.
func withFlags(command, flags []string) []string {
	end := slices.Index(command, "--")
	if end < 0 {
		end = len(command)
	}
	return slices.Insert(slices.Clone(command), end, flags...)
}

// alreadyComplete reports a copy that there is nothing left of to do.
func (a resumeCmd) alreadyComplete(path string) error {
	if a.json {
		return a.status(path)
	}
	_, err := fmt.Fprintf(a.out, "%s: the copy is complete\n", path)
	return err
}

// status prints a state file.
func (a resumeCmd) status(file string) error {
	s, err := journal.Read(file)
	if err != nil {
		return explainState(file, err)
	}
	running, err := s.Running()
	if err != nil {
		return err
	}
	st := newStatus(s, running)
	if a.json {
		return a.print(st)
	}
	_, err = fmt.Fprint(a.out, st.text())
	return err
}

func (a resumeCmd) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status FILE",
		Short: "Show how far a copy with a state file has come",
		Long: `Show how far the copy has come whose state file is FILE. The copy can be running, or
interrupted. The file is a map file of GNU ddrescue: ddrescuelog and ddrescueview can
read it, too.`,
		Example: `  dmcopy status /var/lib/move.state
  dmcopy status --json /var/lib/move.state | jq .bytes_pending`,
		Args: exactly("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return a.status(args[0]) },
	}
	a.addJSON(cmd.Flags(), "the state")
	return cmd
}
