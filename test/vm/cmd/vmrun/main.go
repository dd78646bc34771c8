// Command vmrun boots a guest and runs one program in it as root, with its streams and its exit code:
//
//	go run ./test/vm/cmd/vmrun -disk serial=a,size=1G -- lsblk
//	go run ./test/vm/cmd/vmrun -machine demo.json -program ./cmd/dmcopy -- ./demo.sh
//	go run ./test/vm/cmd/vmrun -disk serial=a,size=1G -shell
//
// A program with a slash in its name is a static executable of the host, or a script; any other is a command of the guest.
// The guest works in the current directory, read-only. Exit code 125 means that the guest failed.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/dmcopy/dmcopy/test/vm"
)

const (
	exitUsage = 2
	exitGuest = 125
)

func main() {
	machine, payload, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmrun:", err)
		os.Exit(exitUsage)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := machine.Run(ctx, payload)
	cancel()
	restoreTerminal()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmrun:", err)
		os.Exit(exitGuest)
	}
	os.Exit(code)
}

// parse reads the command line. With -shell it puts the terminal into raw mode.
func parse(args []string) (machine vm.Machine, payload vm.Payload, err error) {
	flags := flag.NewFlagSet("vmrun", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: vmrun [flags] -- program [arguments]\n       vmrun [flags] -shell")
		flags.PrintDefaults()
	}
	flags.Func("machine", "JSON `file` with the fields of vm.Machine; the other flags change it", func(path string) error {
		return readMachine(path, &machine)
	})
	flags.StringVar(&machine.Kernel, "kernel", machine.Kernel, "6.12, 6.1, new, arm64 or arm64-16k (default $DMCOPY_VM_KERNEL or 6.12)")
	flags.IntVar(&machine.Memory, "memory", machine.Memory, "`MiB` of memory (default 2048)")
	flags.IntVar(&machine.CPUs, "cpus", machine.CPUs, "number of CPUs (default 2)")
	flags.StringVar(&machine.Cmdline, "append", machine.Cmdline, "more kernel parameters")
	flags.Func("disk", "add a disk: `serial=S,size=N[KMGT][,bus=nvme|virtio|scsi][,nsid=N][,bs=512|4096][,mssrl=N,mcl=N,msrc=N]"+
		"[,controllers=N][,bps=N][,iops=N]`", func(text string) error {
		disk, err := parseDisk(text)
		machine.Disks = append(machine.Disks, disk)
		return err
	})
	flags.Func("program", "Go main `package` to build and put on the guest's PATH", func(pkg string) error {
		machine.Programs = append(machine.Programs, pkg)
		return nil
	})
	flags.StringVar(&payload.Out, "out", "", "host `directory` that the guest sees writable as "+vm.OutDir)
	flags.DurationVar(&payload.Timeout, "timeout", 0, "give up after this `time` (default never)")
	shell := flags.Bool("shell", false, "an interactive shell instead of a program")
	if err := flags.Parse(args); err != nil {
		return machine, payload, err
	}
	payload.Dir = "."
	payload.Stdin, payload.Stdout, payload.Stderr = os.Stdin, os.Stdout, os.Stderr
	if *shell {
		payload.Program, payload.Args, err = shellCommand()
		return machine, payload, err
	}
	if flags.NArg() == 0 {
		return machine, payload, errors.New("no program given (see -help)")
	}
	payload.Program, payload.Args = flags.Arg(0), flags.Args()[1:]
	return machine, payload, nil
}

func readMachine(path string, machine *vm.Machine) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(machine); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// parseDisk reads the argument of -disk.
func parseDisk(text string) (vm.Disk, error) {
	var disk vm.Disk
	for field := range strings.SplitSeq(text, ",") {
		name, value, found := strings.Cut(field, "=")
		if !found {
			return disk, fmt.Errorf("%q: want name=value", field)
		}
		if err := setDiskField(&disk, name, value); err != nil {
			return disk, fmt.Errorf("%s: %w", field, err)
		}
	}
	return disk, nil
}

func setDiskField(disk *vm.Disk, name, value string) error {
	switch name {
	case "bus":
		disk.Bus = vm.Bus(value)
		return nil
	case "serial":
		disk.Serial = value
		return nil
	}
	number, err := parseSize(value)
	if err != nil {
		return err
	}
	switch name {
	case "size":
		disk.Size = number
	case "nsid":
		disk.NSID = uint32(number)
	case "bs":
		disk.BlockSize = int(number)
	case "mssrl":
		disk.Copy.MSSRL = uint16(number)
	case "mcl":
		disk.Copy.MCL = uint32(number)
	case "msrc":
		disk.Copy.MSRC = uint8(number)
	case "controllers":
		disk.Controllers = int(number)
	case "bps":
		disk.BytesPerSec = number
	case "iops":
		disk.IOPS = number
	default:
		return errors.New("unknown field")
	}
	return nil
}

// parseSize reads a number of bytes with an optional suffix, powers of 1024.
func parseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "KMGT")
	number, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 0, err
	}
	switch suffix := text[len(digits):]; suffix {
	case "":
		return number, nil
	case "K", "M", "G", "T":
		shift := 10 * (1 + strings.Index("KMGT", suffix))
		if number < 0 || number > 1<<(62-shift) {
			return 0, errors.New("out of range")
		}
		return number << shift, nil
	default:
		return 0, fmt.Errorf("unknown suffix %q", suffix)
	}
}
