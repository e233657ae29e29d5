package schemas

import "math/bits"

// A Bucket is one of the disjoint kinds of tokens. No token is counted in two
// buckets: the total of a call is the plain sum of them all.
type Bucket uint8

// The buckets. Their order is that of the columns in SQL and of [Tokens].
const (
	// Input: prompt tokens that were not read from a cache. Text, unless the
	// provider reports audio or image apart.
	Input Bucket = iota
	// CacheRead: prompt tokens served from the provider's cache.
	CacheRead
	// CacheWrite5m: prompt tokens written to a cache kept for five minutes, or
	// for the provider's only duration.
	CacheWrite5m
	// CacheWrite1h: prompt tokens written to a cache kept for an hour.
	CacheWrite1h
	// Output: generated tokens that are neither reasoning nor audio.
	Output
	// Reasoning: generated tokens the caller does not see. Priced as Output
	// unless the price book has a price of their own.
	Reasoning
	// AudioIn and AudioOut: tokens of sound, heard and spoken.
	AudioIn
	AudioOut
	// Image: tokens of pictures in the prompt, where reported apart.
	Image

	// BucketCount is the number of buckets.
	BucketCount = int(iota)
)

// bucketNames are the words on the wire and in SQL.
var bucketNames = [BucketCount]string{
	"input", "cache_read", "cache_write_5m", "cache_write_1h", "output",
	"reasoning", "audio_in", "audio_out", "image",
}

// String returns the bucket's word on the wire.
func (b Bucket) String() string { return bucketNames[b] }

// Column returns the bucket's column in SQL, for instance "input_tokens".
func (b Bucket) Column() string { return bucketNames[b] + "_tokens" }

// IsInput reports whether the bucket counts tokens sent to the model.
func (b Bucket) IsInput() bool {
	switch b {
	case Input, CacheRead, CacheWrite5m, CacheWrite1h, AudioIn, Image:
		return true
	}
	return false
}

// ParseBucket returns the bucket of a word on the wire.
func ParseBucket(name string) (Bucket, bool) {
	for i, n := range bucketNames {
		if n == name {
			return Bucket(i), true
		}
	}
	return 0, false
}

// Tokens counts tokens by bucket. On an event every count is between 0 and
// TokensPerBucketMax; on a void or an adjustment they may be negative.
type Tokens [BucketCount]int64

// InputTotal returns all tokens sent to the model: uncached, cached, audio, image.
// It is what people call input tokens.
func (t *Tokens) InputTotal() int64 {
	return t[Input] + t[CacheRead] + t[CacheWrite5m] + t[CacheWrite1h] + t[AudioIn] + t[Image]
}

// OutputTotal returns all tokens the model generated, reasoning included.
func (t *Tokens) OutputTotal() int64 { return t[Output] + t[Reasoning] + t[AudioOut] }

// Total returns all tokens.
func (t *Tokens) Total() int64 { return t.InputTotal() + t.OutputTotal() }

// Add adds o to t. Limits per event keep a 64-bit sum exact for 9 million
// events of the largest size in one window; beyond it Add panics.
func (t *Tokens) Add(o *Tokens) {
	for i := range t {
		t[i] = addExact(t[i], o[i])
	}
}

// Negate returns -t.
func (t *Tokens) Negate() Tokens {
	var r Tokens
	for i := range t {
		r[i] = -t[i]
	}
	return r
}

func addExact(a, b int64) int64 {
	sum, _ := bits.Add64(uint64(a), uint64(b), 0)
	s := int64(sum)
	if (a >= 0) == (b >= 0) && (s >= 0) != (a >= 0) {
		panic("tokens: a sum left 64 bits; a limit on tokens per event is not kept")
	}
	return s
}

// Units are counted things that are not tokens, such as web searches, by name.
type Units map[string]int64

// The units the price book knows. Others are accepted, stored and unpriced.
const (
	UnitWebSearch = "web_search"
	UnitWebFetch  = "web_fetch"
	UnitRequest   = "request"
	UnitImageOut  = "image_out"
)
