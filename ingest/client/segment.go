package client

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/agentik-os/panda/schemas"
)

// A segment is a file of the spool: a magic word, then records.
//
//	record = length (uint32 LE) | CRC-32C over length and payload (uint32 LE) | payload
const segmentMagic = "PANDASP1"

const recordHeadBytes = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendRecord appends a record to buf.
func appendRecord(buf, payload []byte) []byte {
	at := len(buf)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(payload)))
	sum := crc32.Update(crc32.Checksum(buf[at:], castagnoli), castagnoli, payload)
	buf = binary.LittleEndian.AppendUint32(buf, sum)
	return append(buf, payload...)
}

// nextRecord takes the first record off data. It is not ok if data holds no whole
// and intact record at its start; what follows cannot be found then either.
func nextRecord(data []byte) (payload, rest []byte, ok bool) {
	if len(data) < recordHeadBytes {
		return nil, data, false
	}
	length := binary.LittleEndian.Uint32(data)
	if length == 0 || length > schemas.EventBytesMax || uint64(len(data)-recordHeadBytes) < uint64(length) {
		return nil, data, false
	}
	end := recordHeadBytes + int(length)
	payload = data[recordHeadBytes:end:end]
	sum := crc32.Update(crc32.Checksum(data[:4], castagnoli), castagnoli, payload)
	if sum != binary.LittleEndian.Uint32(data[4:]) {
		return nil, data, false
	}
	return payload, data[end:], true
}

// scanSegment counts the intact records of a segment from its start, and returns
// the offset behind the last of them and how many begin at or after from. An
// offset of 0 means that the file is not a segment.
func scanSegment(data []byte, from int64) (end int64, records int) {
	if len(data) < len(segmentMagic) || string(data[:len(segmentMagic)]) != segmentMagic {
		return 0, 0
	}
	rest := data[len(segmentMagic):]
	for {
		at := int64(len(data) - len(rest))
		_, next, ok := nextRecord(rest)
		if !ok {
			return at, records
		}
		if at >= from {
			records++
		}
		rest = next
	}
}
