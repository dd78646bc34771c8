package dmtable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/dmcopy/dmcopy/remap"
)

// reply is the answer to a dm ioctl, header included, cut to its data_size.
// It may hold keys and is wiped once it has been read.
type reply []byte

func (r reply) u32(off uintptr) uint32 { return binary.NativeEndian.Uint32(r[off:]) }
func (r reply) u64(off uintptr) uint64 { return binary.NativeEndian.Uint64(r[off:]) }

func (r reply) flag(f uint32) bool { return r.u32(offFlags)&f != 0 }

func (r reply) info() (Info, error) {
	name, ok := cString(r[offName:offUUID])
	if !ok || len(name) == 0 {
		return Info{}, fmt.Errorf("%w: no device name", ErrReply)
	}
	uuid, ok := cString(r[offUUID:offData])
	if !ok {
		return Info{}, fmt.Errorf("%w: endless uuid", ErrReply)
	}
	return Info{
		Dev:             decodeDev(r.u64(offDev)),
		Name:            string(name),
		UUID:            string(uuid),
		OpenCount:       int(int32(r.u32(offOpenCount))),
		ReadOnly:        r.flag(unix.DM_READONLY_FLAG),
		Active:          r.flag(unix.DM_ACTIVE_PRESENT_FLAG),
		Suspended:       r.flag(unix.DM_SUSPEND_FLAG),
		InternalSuspend: r.flag(unix.DM_INTERNAL_SUSPEND_FLAG),
		Staged:          r.flag(unix.DM_INACTIVE_PRESENT_FLAG),
	}, nil
}

// data returns what follows the header: nothing, when data_size ends inside
// of the header, which is how the kernel says so (dm-ioctl.c, ctl_ioctl sets
// data_size to offsetof(struct dm_ioctl, data) before it runs the command).
func (r reply) data() ([]byte, error) {
	start := uint64(r.u32(offDataStart))
	switch {
	case uint64(len(r)) <= uint64(sizeofHeader):
		return nil, nil
	case start < uint64(sizeofHeader) || start > uint64(len(r)):
		return nil, fmt.Errorf("%w: data at %d of %d bytes", ErrReply, start, len(r))
	}
	return r[start:], nil
}

// line is one struct dm_target_spec with the parameters behind it. The slices
// point into the reply.
type line struct {
	start, length uint64
	typ           []byte
	params        []byte
}

// lines walks the target lines of a TABLE_STATUS reply (dm-ioctl.c,
// retrieve_status): spec.next counts from the first record, is a multiple of
// 8 and is set in the last record too.
func (r reply) lines() iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		data, err := r.data()
		if err != nil {
			yield(line{}, err)
			return
		}
		at := uint64(0)
		for i := range r.u32(offTargetCount) {
			l, next, err := parseSpec(data, at)
			if err != nil {
				err = fmt.Errorf("target %d at byte %d: %w", i, at, err)
			}
			if !yield(l, err) || err != nil {
				return
			}
			at = next
		}
	}
}

func parseSpec(data []byte, at uint64) (line, uint64, error) {
	end := uint64(len(data))
	if end < uint64(sizeofSpec) || at > end-uint64(sizeofSpec) {
		return line{}, 0, fmt.Errorf("%w: record behind the end", ErrReply)
	}
	spec := reply(data[at:])
	next := uint64(spec.u32(offSpecNext))
	if next%8 != 0 || next <= at+uint64(sizeofSpec) || next > align8(end) {
		return line{}, 0, fmt.Errorf("%w: next record at byte %d", ErrReply, next)
	}
	typ, ok := cString(spec[offSpecType:sizeofSpec])
	if !ok || !validType(typ) {
		return line{}, 0, fmt.Errorf("%w: target type", ErrReply)
	}
	params, ok := cString(data[at+uint64(sizeofSpec) : min(next, end)])
	if !ok {
		return line{}, 0, fmt.Errorf("%w: endless parameters", ErrReply)
	}
	return line{spec.u64(offSpecStart), spec.u64(offSpecLength), typ, params}, next, nil
}

// deps reads a TABLE_DEPS reply, struct dm_target_deps.
func (r reply) deps() ([]remap.Dev, error) {
	data, err := r.data()
	if err != nil || len(data) == 0 {
		return nil, err
	}
	if len(data) < int(sizeofDeps) {
		return nil, fmt.Errorf("%w: short list of dependencies", ErrReply)
	}
	count, list := uint64(reply(data).u32(0)), data[sizeofDeps:]
	if count > uint64(len(list))/8 {
		return nil, fmt.Errorf("%w: %d dependencies in %d bytes", ErrReply, count, len(list))
	}
	devs := make([]remap.Dev, 0, count)
	for i := range count {
		devs = append(devs, decodeDev(binary.NativeEndian.Uint64(list[i*8:])))
	}
	return devs, nil
}

// Where the fields of struct dm_name_list are. Behind the name, at the next
// multiple of 8, follow event_nr, flags and the uuid (dm-ioctl.c,
// list_devices).
const (
	offListDev   = 0
	offListNext  = 8
	offListName  = 12
	offListFlags = 4
	offListUUID  = 8
)

// list reads a LIST_DEVICES reply. Here next counts from the record itself
// and is 0 in the last one.
func (r reply) list() ([]Listed, error) {
	data, err := r.data()
	if err != nil {
		return nil, err
	}
	var found []Listed
	for len(data) >= offListName && reply(data).u64(offListDev) != 0 {
		next := uint64(reply(data).u32(offListNext))
		record := data
		if next != 0 {
			if next%8 != 0 || next <= offListName || next > uint64(len(data)) {
				return nil, fmt.Errorf("%w: next device at byte %d of %d", ErrReply, next, len(data))
			}
			record = data[:next]
		}
		dev, err := parseListed(record)
		if err != nil {
			return nil, err
		}
		found = append(found, dev)
		if next == 0 {
			break
		}
		data = data[next:]
	}
	return found, nil
}

func parseListed(record reply) (Listed, error) {
	name, ok := cString(record[offListName:])
	if !ok || len(name) == 0 {
		return Listed{}, fmt.Errorf("%w: device without a name", ErrReply)
	}
	found := Listed{Dev: decodeDev(record.u64(offListDev)), Name: string(name)}
	more := align8(uint64(offListName + len(name) + 1))
	if more+offListUUID > uint64(len(record)) {
		return found, nil
	}
	tail := record[more:]
	if tail.u32(offListFlags)&unix.DM_NAME_LIST_FLAG_HAS_UUID != 0 {
		uuid, ok := cString(tail[offListUUID:])
		if !ok {
			return Listed{}, fmt.Errorf("%w: endless uuid", ErrReply)
		}
		found.UUID = string(uuid)
	}
	return found, nil
}

// cString cuts b at its NUL; without one it is not a string.
func cString(b []byte) ([]byte, bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 {
		return nil, false
	}
	return b[:i], true
}

// validType tells whether the bytes can be the name of a target type. It
// becomes a part of reasons and of stored tables.
func validType[T []byte | string](name T) bool {
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return len(name) > 0 && len(name) < unix.DM_MAX_TYPE_NAME
}

func align8(n uint64) uint64 { return (n + 7) &^ 7 }

// decodeDev is huge_decode_dev of include/linux/kdev_t.h.
func decodeDev(d uint64) remap.Dev {
	return remap.Dev{
		Major: uint32(d>>8) & 0xfff,
		Minor: uint32(d&0xff) | uint32(d>>12)&0xfff00,
	}
}

// encodeDev is huge_encode_dev of include/linux/kdev_t.h.
func encodeDev(d remap.Dev) uint64 {
	return uint64(d.Minor&0xff) | uint64(d.Major)<<8 | uint64(d.Minor&^0xff)<<12
}
