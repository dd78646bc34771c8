package scsi

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Pages of vital product data that this package reads.
const (
	pageSupported  = 0x00
	pageSerial     = 0x80
	pageDesignator = 0x83
	pageThirdParty = 0x8F
)

// deviceTypeDisk is the peripheral device type of a direct access block device.
// Host managed zoned disks have another one (14h).
const deviceTypeDisk = 0x00

// Inquiry is the standard INQUIRY data, as far as it matters for copying.
// SPC-4, 6.6.2.
type Inquiry struct {
	Qualifier  uint8 // 0: a device is there
	DeviceType uint8 // 0: direct access block device
	Version    uint8
	ThirdParty bool // 3PC, byte 5 bit 3: third-party copy commands exist
	Protect    bool // byte 5 bit 0: protection information is possible
	Vendor     string
	Product    string
	Revision   string
}

// ParseInquiry parses the standard INQUIRY data.
func ParseInquiry(b []byte) (Inquiry, error) {
	const op = "parse inquiry"
	if len(b) < 36 {
		return Inquiry{}, short(op, len(b), 36)
	}
	if format := b[3] & 0xF; format != 2 {
		return Inquiry{}, opError(op, "", fmt.Errorf("%w: response data format %d", blocks.ErrInvalid, format))
	}
	if n := int(b[4]) + 5; n < 36 {
		return Inquiry{}, short(op, n, 36)
	}
	return Inquiry{
		Qualifier:  b[0] >> 5,
		DeviceType: b[0] & 0x1F,
		Version:    b[2],
		ThirdParty: b[5]&(1<<3) != 0,
		Protect:    b[5]&1 != 0,
		Vendor:     fixedString(b[8:16]),
		Product:    fixedString(b[16:32]),
		Revision:   fixedString(b[32:36]),
	}, nil
}

// fixedString cuts a space padded ASCII field, or a NUL terminated string.
func fixedString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(bytes.Trim(b, " "))
}

// pageBody checks the head of a page of vital product data (SPC-4, 7.8.1) and
// returns what follows it.
func pageBody(op string, page uint8, b []byte) ([]byte, error) {
	if len(b) < 4 {
		return nil, short(op, len(b), 4)
	}
	if b[1] != page {
		return nil, opError(op, "", fmt.Errorf("%w: page %02xh instead of %02xh", blocks.ErrInvalid, b[1], page))
	}
	end := 4 + int(binary.BigEndian.Uint16(b[2:]))
	if end > len(b) {
		return nil, short(op, len(b), end)
	}
	return b[4:end], nil
}

// ParsePages parses the list of supported pages (page 00h). SPC-4, 7.8.13.
func ParsePages(b []byte) ([]uint8, error) {
	body, err := pageBody("parse supported pages", pageSupported, b)
	return bytes.Clone(body), err
}

// ParseSerial parses the unit serial number (page 80h). A device without one may
// send spaces (SPC-4, 7.8.15): then it is empty.
func ParseSerial(b []byte) (string, error) {
	body, err := pageBody("parse serial number", pageSerial, b)
	if err != nil {
		return "", err
	}
	return fixedString(body), nil
}
