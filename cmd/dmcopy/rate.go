package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/internal/dispatch/failure"
	"github.com/dmcopy/dmcopy/internal/dispatch/pace"
)

// rateFlags say how fast to copy.
type rateFlags struct {
	limit sizeFlag
	file  fileFlag
}

func (f *rateFlags) add(flags *pflag.FlagSet) {
	flags.Var(&f.limit, "rate", "copy and verify at most this much a second, in bursts of 64K or more")
	flags.Var(&f.file, "rate-file", "read the rate from this file, every second: a size, 0 (pause) or max")
}

// source is where the rate comes from, nil for no limit. A copy that is gone on with may do without its
// file, which is often one in /run: there is no limit until it is there again.
func (f *rateFlags) source(log *slog.Logger, resumed bool) (func() int64, error) {
	switch {
	case f.limit.set && f.file != "":
		return nil, usage("--rate and --rate-file exclude each other: want one of them")
	case f.limit.set && f.limit.bytes == 0:
		return nil, usage("--rate 0 copies nothing")
	case f.limit.set:
		return func() int64 { return f.limit.bytes }, nil
	case f.file == "":
		return nil, nil
	}
	r := &rateFile{path: string(f.file), log: log}
	err := r.read()
	switch {
	case errors.Is(err, fs.ErrNotExist) && resumed:
		r.rate, r.bad = pace.Unlimited, err.Error()
		log.Warn("the file of --rate-file is gone: there is no limit until it is there again, unless resume sets one with --rate", "file", r.path)
	case errors.Is(err, fs.ErrNotExist):
		return nil, usage("--rate-file %s: there is no such file: write the rate into it first (echo 50M >%s)", shown(r.path), failure.ShellQuote(r.path))
	case err != nil:
		return nil, usage("--rate-file: %v", err)
	}
	return r.get, nil
}

// rateFile is a rate that can be changed at any time.
type rateFile struct {
	path string
	log  *slog.Logger
	rate int64
	at   time.Time // when it was read
	// bad is why it could not be read the last time.
	bad string
}

// rateEvery is how often the file is read.
const rateEvery = time.Second

// get returns the latest rate that could be read.
func (r *rateFile) get() int64 {
	if time.Since(r.at) < rateEvery {
		return r.rate
	}
	was := r.rate
	err := r.read()
	switch {
	case err != nil && err.Error() != r.bad:
		r.bad = err.Error()
		r.log.Warn("the rate file cannot be used: the rate stays as it was", "error", err)
	case err == nil && r.rate != was:
		r.bad = ""
		r.log.Info("the rate has changed", "bytes per second", r.rate)
	}
	return r.rate
}

// maxRateFile bounds what is read of the file, in bytes.
const maxRateFile = 128

// read takes a rate from a regular file only: a pipe would keep the copy waiting for
// whoever writes to it. What is in the file is not told; it may be another file by now.
func (r *rateFile) read() error {
	r.at = time.Now()
	info, err := os.Stat(r.path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", r.path)
	}
	if err != nil {
		return err
	}
	f, err := os.OpenFile(r.path, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a pipe by now
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRateFile+1))
	if err != nil {
		return err
	}
	word := strings.TrimSpace(string(text))
	if word == "max" {
		r.rate = pace.Unlimited
		return nil
	}
	rate, err := parseSize(word)
	if err != nil || len(text) > maxRateFile {
		return fmt.Errorf("%s holds neither a size (%s) nor max", r.path, sizeForms)
	}
	r.rate = rate
	return nil
}
