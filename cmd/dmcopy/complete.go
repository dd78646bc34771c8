package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// completeDevices completes the names of block devices for the first most
// arguments, or for all of them if most is negative. Files stay possible.
func completeDevices(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var found []string
		for _, name := range deviceNames() {
			if strings.HasPrefix(name, prefix) {
				found = append(found, name)
			}
		}
		return found, cobra.ShellCompDirectiveDefault
	}
}

// deviceNames lists names of block devices. A device that cannot be read is
// left out: completion has nowhere to complain.
func deviceNames() []string {
	devs, err := thisMachine.Devs()
	if err != nil {
		return nil
	}
	var found []string
	for _, dev := range devs {
		facts, err := thisMachine.Facts(dev)
		if err != nil || facts.Size == 0 {
			continue
		}
		found = append(found, facts.Path())
		if name, err := thisMachine.Root().Block(dev).Text("dm/name"); err == nil {
			found = append(found, "/dev/mapper/"+name)
		}
	}
	return found
}

// completeChoices completes the words that flags take.
func completeChoices(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		completeChoices(sub)
	}
	for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.PersistentFlags()} {
		flags.VisitAll(func(flag *pflag.Flag) {
			if c, ok := flag.Value.(interface{ completions() []string }); ok {
				// It fails only where a flag has one already, which is the same.
				_ = cmd.RegisterFlagCompletionFunc(flag.Name, cobra.FixedCompletions(c.completions(), cobra.ShellCompDirectiveNoFileComp))
			}
		})
	}
}
