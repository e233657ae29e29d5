package ingest

import (
	"encoding/binary"
	"math/bits"
)

// filter answers "certainly new" or "possibly seen" for keys, from memory. It
// has no false negatives, so an event it calls new needs no look at the keys
// table; about one new key in four hundred is called possibly seen and costs a
// lookup.
//
// It is a chain of split block Bloom filters (Putze, Sanders, Singler: "Cache-,
// Hash- and Space-Efficient Bloom Filters", 2007), each twice the size of the
// one before, so that it grows without being rebuilt. 16 bits per key: 20 MB for
// ten million keys. Keys are hashes already; their bits are used as they are.
//
// filter is owned by one goroutine, the writer's.
type filter struct {
	stages []filterStage
	count  uint64
}

type filterStage struct {
	blocks []filterBlock
	room   uint64 // keys that may still be added
}

// A block is 256 bits, half a cache line: a key sets one bit in each word.
type filterBlock [8]uint32

const (
	filterBitsPerKey = 16
	// filterFirstKeys is the room of the first stage: 64 Ki keys, 128 KiB, so
	// that a small deployment stays small.
	filterFirstKeys = 64 << 10
	filterBlockBits = 256
)

// filterSalts are odd constants that spread 32 bits of a key over the words of a
// block, one each, by multiplication. Any odd numbers with mixed bits serve.
var filterSalts = [8]uint32{
	0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f, 0x165667b1, 0xd3a2646d, 0xfd7046c5, 0xb55a4f09,
}

// newFilter returns a filter whose first stage has room for the keys expected.
func newFilter(expected uint64) *filter {
	f := &filter{}
	f.grow(max(expected, filterFirstKeys))
	return f
}

func (f *filter) grow(keys uint64) {
	blocks := max(keys*filterBitsPerKey/filterBlockBits, 1)
	f.stages = append(f.stages, filterStage{blocks: make([]filterBlock, blocks), room: keys})
}

// add puts a key in.
func (f *filter) add(k *Key) {
	last := &f.stages[len(f.stages)-1]
	if last.room == 0 {
		f.grow(2 * uint64(len(last.blocks)) * filterBlockBits / filterBitsPerKey)
		last = &f.stages[len(f.stages)-1]
	}
	last.room--
	f.count++
	place, pattern := filterHash(k)
	block := last.block(place)
	for i := range block {
		block[i] |= 1 << (pattern * filterSalts[i] >> 27)
	}
}

// mayHave reports whether the key may have been added: false is certain.
func (f *filter) mayHave(k *Key) bool {
	place, pattern := filterHash(k)
	for i := len(f.stages) - 1; i >= 0; i-- {
		if f.stages[i].block(place).has(pattern) {
			return true
		}
	}
	return false
}

func (b *filterBlock) has(pattern uint32) bool {
	for i := range b {
		if b[i]&(1<<(pattern*filterSalts[i]>>27)) == 0 {
			return false
		}
	}
	return true
}

// block maps 64 hash bits evenly to a block (Lemire's multiply-shift).
func (s *filterStage) block(place uint64) *filterBlock {
	hi, _ := bits.Mul64(place, uint64(len(s.blocks)))
	return &s.blocks[hi]
}

// bytes returns the memory the filter holds.
func (f *filter) bytes() uint64 {
	var n uint64
	for i := range f.stages {
		n += uint64(len(f.stages[i].blocks)) * filterBlockBits / 8
	}
	return n
}

func filterHash(k *Key) (place uint64, pattern uint32) {
	return binary.LittleEndian.Uint64(k[:8]), binary.LittleEndian.Uint32(k[8:12])
}
