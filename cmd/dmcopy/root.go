package main

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const rootLong = `dmcopy copies between block devices and lets the disk do the work where it can. It
resolves logical volumes, partitions and the like down to blocks on disks. If source and
destination are on one disk that has a copy command, the disk copies. dmcopy copies the
rest through the host, which is this machine, and reports which bytes went which way,
and why.

You can name a device by a path or link, vg/lv, its kernel name (nvme0n1), its name in
device-mapper, or major:minor. Sources and destinations can be regular files, too.

Safety:
  * Before the first byte is written, dmcopy refuses a destination that is in use,
    read-only, suspended or too small, and a source that others may write to. While it
    copies, nobody can mount them.
  * While a disk writes below a destination, dmcopy holds the layout of the destination,
    and compares it before and after.
  * If dmcopy does not recognise a layer, cannot lock its layout, or has not verified the
    disk's copy command, it copies that part through the host, as dd would.
  * Everything in the destination range is overwritten. There is no undo.`

// rootCommand builds the command line.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "dmcopy",
		Short: "Copy between block devices; the disks do the work where they can",
		Long:  rootLong,
		Example: `  dmcopy plan /dev/vg/home /dev/vg/home-new      what would happen, and why
  dmcopy copy /dev/vg/home /dev/vg/home-new      do it
  dmcopy map vg/home                             where the blocks of a volume are
  dmcopy domains                                 which disks can copy by themselves`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			err := errors.Join(refuseSecure(), a.setUpLog(cmd.Flags()))
			if err == nil && cmd.Name() != "version" {
				err = refuseStarved()
			}
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	a.logLevel = choice[string]{"warning", []string{"error", "warning", "info", "debug"}}
	a.logFormat = choice[string]{"text", []string{"text", "json"}}
	root.PersistentFlags().Var(&a.logLevel, "log-level", "write log messages of this level and above to stderr")
	root.PersistentFlags().Var(&a.logFormat, "log-format", "form of the log and of everything else on stderr (--progress json implies json)")
	root.Version = buildInfo().line() // makes the flag --version
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetOut(a.out)
	root.SetErr(a.term)
	root.SetIn(a.in)
	root.SetFlagErrorFunc(flagError)
	root.SuggestionsMinimumDistance = 2
	root.SetHelpTemplate(helpTemplate())
	root.AddCommand(
		copyCmd{a}.command(), planCmd{a}.command(), mapCmd{a}.command(), treeCmd{a}.command(),
		domainsCmd{a}.command(), verifyCmd{a}.command(), captureCmd{a}.command(),
		resumeCmd{a}.command(), resumeCmd{a}.statusCommand(), a.versionCommand(),
	)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	refuseUnknown(root)
	completeChoices(root)
	return root
}

// refuseUnknown keeps commands of commands, and help, from taking a word that they do
// not know for none.
func refuseUnknown(root *cobra.Command) {
	for _, cmd := range root.Commands() {
		switch {
		case cmd.Name() == "help":
			help := cmd.Run
			cmd.Run, cmd.RunE = nil, func(cmd *cobra.Command, args []string) error {
				if found, rest, err := root.Find(args); err != nil || len(rest) > 0 {
					return unknownCommand(found, rest[0])
				}
				help(cmd, args)
				return nil
			}
		case cmd.HasSubCommands():
			cmd.Args = cobra.ArbitraryArgs
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				if len(args) > 0 {
					return unknownCommand(cmd, args[0])
				}
				return cmd.Help()
			}
		}
	}
}

// helpTemplate is cobra's, with the table of exit codes at the end.
func helpTemplate() string {
	return `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}
` + exitHelp()
}

// wanted is what the values are called that pflag parses: it quotes the parser.
var wanted = map[string]string{"int": "a whole number", "bool": "true or false"}

// flagError says what is wrong with a flag.
func flagError(cmd *cobra.Command, err error) error {
	var value *pflag.InvalidValueError
	if errors.As(err, &value) {
		flag := value.GetFlag()
		if want, plain := wanted[flag.Value.Type()]; plain {
			return usage("--%s: %q is not %s", flag.Name, value.GetValue(), want)
		}
		return usage("--%s: %v", flag.Name, value.Unwrap())
	}
	return usage("%v (see %s --help)", err, cmd.CommandPath())
}

func unknownCommand(cmd *cobra.Command, name string) error {
	if alike := cmd.SuggestionsFor(name); len(alike) > 0 {
		return usage("there is no command %q; did you mean %s?", name, strings.Join(alike, " or "))
	}
	return usage("there is no command %q (see %s --help)", name, cmd.CommandPath())
}

// exactly demands one argument for each name.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			wanted := strings.Join(names, " and ")
			if wanted == "" {
				wanted = "no arguments"
			}
			if flag, value, found := apart(cmd, args); found {
				return usage("--%s takes its value with an equals sign: --%s=%s", flag, flag, value)
			}
			return usage("%s wants %s, but got %s (see %s --help)",
				cmd.CommandPath(), wanted, plural(int64(len(args)), "argument"), cmd.CommandPath())
		}
		for i, arg := range args {
			if arg == "" {
				return usage("%s is empty", names[i])
			}
		}
		return nil
	}
}

// apart finds a value that was meant for a flag which has one of its own if none follows an equals
// sign.
func apart(cmd *cobra.Command, args []string) (name, value string, found bool) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.NoOptDefVal == "" || f.Value.Type() == "bool" || f.Value.String() != f.NoOptDefVal {
			return
		}
		for _, arg := range args {
			if _, err := time.ParseDuration(arg); err == nil {
				name, value, found = f.Name, arg, true
			}
		}
	})
	return name, value, found
}

// addJSON adds the flag that every command has.
func (a *app) addJSON(flags *pflag.FlagSet, what string) {
	flags.BoolVar(&a.json, "json", false, what+" as JSON on stdout")
}

// fileFlag is a flag with the name of a file. An empty name is nearly always a
// variable that was not set in a script, so it is refused.
type fileFlag string

// Set implements pflag.Value.
func (f *fileFlag) Set(s string) error {
	if s == "" {
		return usage("the name of the file is empty")
	}
	*f = fileFlag(s)
	return nil
}

func (f *fileFlag) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *fileFlag) Type() string { return "FILE" }
