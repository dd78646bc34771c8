// Command scsitarget serves a test target until it is told to end:
//
//	scsitarget -disk 64M -disk 16M,4096 -control /run/target.sock
//	iscsiadm -m discovery -t sendtargets -p 127.0.0.1:3260 && iscsiadm -m node --login
//	echo '{"Do":"inject","Fault":{"Command":"write-using-token","Skip":1,"Expire":true}}' | socat - /run/target.sock
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/dmcopy/dmcopy/test/target"
	"github.com/dmcopy/dmcopy/test/target/control"
	"github.com/dmcopy/dmcopy/test/target/iscsi"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "scsitarget:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	config := target.Config{Tokens: target.DefaultTokenLimits()}
	flags := flag.NewFlagSet("scsitarget", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:3260", "`address` for initiators")
	name := flags.String("name", "iqn.2026-01.org.dmcopy:disks", "`name` of the target")
	socket := flags.String("control", "", "unix `socket` for faults")
	number := flags.Uint("number", 0, "part of all names, to tell targets apart: 0 to 255")
	flags.Func("disk", "`SIZE[,BLOCK]` with K, M or G; again for each disk", func(text string) error {
		d, err := parseDisk(text)
		config.Disks = append(config.Disks, d)
		return err
	})
	flags.BoolFunc("no-tokens", "no token copies", func(string) error { config.Tokens = nil; return nil })
	flags.BoolFunc("xcopy", "EXTENDED COPY, within the limits of the kernel's target", func(string) error {
		config.XCopy = target.DefaultCopyLimits()
		return nil
	})
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	config.Number = uint8(min(*number, 255))
	made, err := target.New(config)
	if err != nil {
		return err
	}
	server, err := iscsi.Serve(*listen, *name, made, slog.Default())
	if err != nil {
		return err
	}
	defer server.Close()
	if *socket != "" {
		listener, err := net.Listen("unix", *socket)
		if err != nil {
			return err
		}
		defer listener.Close()
		go control.Serve(listener, made)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	<-ended
	return nil
}

// parseDisk: a size in bytes, and the length of its blocks.
func parseDisk(text string) (d target.Disk, err error) {
	size, block, found := strings.Cut(text, ",")
	if !found {
		block = "512"
	}
	shift := map[byte]uint{'K': 10, 'M': 20, 'G': 30}[(size + " ")[max(len(size)-1, 0)]]
	if shift != 0 {
		size = size[:len(size)-1]
	}
	bytes, err := strconv.ParseUint(size, 10, 33)
	if err != nil {
		return d, err
	}
	length, err := strconv.ParseUint(block, 10, 16)
	if err != nil || length == 0 || bytes<<shift%length != 0 {
		return d, fmt.Errorf("%q is not whole blocks", text)
	}
	return target.Disk{Blocks: bytes << shift / length, BlockSize: uint32(length)}, nil
}
