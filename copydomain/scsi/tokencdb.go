package scsi

import (
	"encoding/binary"
	"fmt"

	"github.com/dmcopy/dmcopy/copydomain/blocks"
)

// Service actions of token copies.
const (
	saPopulateToken   = 0x10
	saWriteUsingToken = 0x11
	saAbortOperation  = 0x1C
	saReceiveToken    = 0x07

	// allocationToken has room for the status, all sense data and one token.
	allocationToken = 1024
)

// populateToken: SBC-3, 5.12.
func populateToken(id uint32, list []byte) Command { return tokenOut(saPopulateToken, id, list) }

// writeUsingToken: SBC-3, 5.49.
func writeUsingToken(id uint32, list []byte) Command { return tokenOut(saWriteUsingToken, id, list) }

func tokenOut(action uint8, id uint32, list []byte) Command {
	cdb := make([]byte, 16)
	cdb[0], cdb[1] = byte(OpThirdPartyOut), action
	binary.BigEndian.PutUint32(cdb[6:], id)
	binary.BigEndian.PutUint32(cdb[10:], uint32(len(list)))
	return Command{CDB: cdb, Data: list}
}

// abortOperation is COPY OPERATION ABORT: SPC-4, 6.3.
func abortOperation(id uint32) Command {
	cdb := make([]byte, 16)
	cdb[0], cdb[1] = byte(OpThirdPartyOut), saAbortOperation
	binary.BigEndian.PutUint32(cdb[2:], id)
	return Command{CDB: cdb}
}

// receiveToken is RECEIVE ROD TOKEN INFORMATION: SPC-4, 6.26.
func receiveToken(id uint32) Command {
	c := receive(saReceiveToken, allocationToken)
	binary.BigEndian.PutUint32(c.CDB[2:], id)
	return c
}

// checkTokenOut asserts that a command of a token copy is of the form that it is
// made in here. ok is false for other commands.
func checkTokenOut(c *Command) (ok bool, err error) {
	switch c.CDB[1] {
	case saAbortOperation:
		if len(c.Data) != 0 || !zero(c.CDB[6:]) {
			err = fmt.Errorf("%w: COPY OPERATION ABORT % x", blocks.ErrNotAllowed, c.CDB)
		}
		return true, err
	case saPopulateToken, saWriteUsingToken:
	default:
		return false, nil
	}
	if !zero(c.CDB[2:6]) || !zero(c.CDB[14:]) {
		return true, fmt.Errorf("%w: THIRD-PARTY COPY OUT % x", blocks.ErrNotAllowed, c.CDB)
	}
	if n := binary.BigEndian.Uint32(c.CDB[10:]); int64(n) != int64(len(c.Data)) {
		return true, fmt.Errorf("%w: parameter list of %d bytes in %d", blocks.ErrInvalid, n, len(c.Data))
	}
	if c.CDB[1] == saPopulateToken {
		_, err = DecodePopulateList(c.Data)
		return true, err
	}
	list, err := DecodeWriteList(c.Data)
	if err == nil {
		list.Token.wipe()
	}
	return true, err
}
