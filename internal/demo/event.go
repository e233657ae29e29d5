package demo

import (
	"strconv"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// call is one model call.
type call struct {
	number    uint64 // in its tenant, part of the id
	at        int64  // Unix milliseconds
	pair      *pair
	tokens    schemas.Tokens
	latencyMS int64
	user      uint64
	failure   string // the provider's word, "" for none
}

// Limits of one call's tokens. Together they keep a prompt under 200,000 tokens,
// where some models once had a second price.
const (
	inputMax  = 64_000
	readMax   = 100_000
	writeMax  = 16_000
	outputMax = 32_000
)

var tokenLimits = [schemas.BucketCount]int64{
	schemas.Input: inputMax, schemas.CacheRead: readMax, schemas.CacheWrite5m: writeMax, schemas.CacheWrite1h: writeMax,
	schemas.Output: outputMax, schemas.Reasoning: outputMax,
}

var failures = [4]string{"overloaded", "rate_limited", "timeout", "content_filter"}

// errorsOf: one call in 70 fails, 1.4 %.
const errorsOf = 70

// draw fills in what a call used. A failed call used its prompt and no more.
func (c *call) draw(rnd *random, users uint64) {
	r, sizes, small := rnd.bits(), rnd.bits(), rnd.bits()
	c.tokens = schemas.Tokens{}
	for b := range schemas.BucketCount {
		mean, often := c.pair.mean[b], c.pair.model.shape.often[b]
		if mean == 0 {
			continue
		}
		factor := int64(0)
		switch schemas.Bucket(b) {
		case schemas.Input:
			factor = heavy(uint32(sizes))
		case schemas.Output:
			factor = heavy(uint32(sizes >> 32))
		default:
			// Eight bits for whether the bucket is used, 16 for how much.
			if int64(r&255) < often {
				factor = even(uint16(small))
			}
			r, small = r>>8, small>>16
		}
		c.tokens[b] = min(mean*factor/unit, tokenLimits[b])
	}
	c.tokens[schemas.Input] = max(1, c.tokens[schemas.Input])
	c.tokens[schemas.Output] = max(1, c.tokens[schemas.Output])
	generated := c.tokens[schemas.Output] + c.tokens[schemas.Reasoning]
	c.latencyMS = 350 + int64(r&255) + generated*11
	c.user = 1 + (r>>8&0xffff)*users>>16
	c.failure = ""
	if rnd.one(errorsOf) {
		c.failure = failures[r>>24&3]
		c.tokens = schemas.Tokens{schemas.Input: c.tokens[schemas.Input]}
		c.latencyMS = 350 + int64(r&255)
	}
}

// writer appends events as JSON, without reflection: the generator shares the
// machine with what it measures.
type writer struct {
	// run is the first part of every id. It comes from the seed, so that months
	// of two seeds have no id in common.
	run string
	// hour is the hour of the event before, and its text up to "T13:".
	hour     int64
	hourText []byte
}

func newWriter(seed uint64) *writer {
	h := seed*0x9e3779b97f4a7c15 ^ 0x5bf03635
	return &writer{run: hexText(h>>32, 8), hour: -1}
}

func hexText(n uint64, digits int) string { return string(appendHex(nil, n, digits)) }

func appendHex(dst []byte, n uint64, digits int) []byte {
	const hex = "0123456789abcdef"
	for i := digits - 1; i >= 0; i-- {
		dst = append(dst, hex[n>>(4*i)&15])
	}
	return dst
}

// id returns the id of a call.
func (w *writer) id(number uint64) string { return w.run + "-" + hexText(number, 8) }

func (w *writer) call(dst []byte, c *call) []byte {
	dst = append(dst, `{"specversion":"1.0","id":"`...)
	dst = append(append(dst, w.run...), '-')
	dst = appendHex(dst, c.number, 8)
	dst = append(append(dst, `","source":"`...), c.pair.source...)
	dst = append(dst, `","type":"llm.call","time":"`...)
	dst = w.time(dst, c.at)
	dst = append(append(dst, `","data":{`...), c.pair.names...)
	dst = strconv.AppendUint(append(dst, `,"user":"u-`...), c.user, 10)
	const callsPerSession = 7
	dst = appendHex(append(dst, `","session":"s-`...), c.number/callsPerSession, 8)
	dst = strconv.AppendInt(append(dst, `","latency_ms":`...), c.latencyMS, 10)
	dst = append(dst, `,"tokens":{`...)
	for b, n := range c.tokens {
		if n == 0 {
			continue
		}
		if dst[len(dst)-1] != '{' {
			dst = append(dst, ',')
		}
		dst = append(append(dst, '"'), schemas.Bucket(b).String()...)
		dst = strconv.AppendInt(append(dst, `":`...), n, 10)
	}
	dst = append(dst, '}')
	if c.failure != "" {
		dst = append(append(dst, `,"status":"error","error":"`...), c.failure...)
		dst = append(dst, '"')
	}
	return append(dst, `}}`...)
}

// time appends RFC 3339 in UTC with milliseconds.
func (w *writer) time(dst []byte, millis int64) []byte {
	const hourMillis = 3_600_000
	if h := millis / hourMillis; h != w.hour {
		w.hour = h
		w.hourText = time.UnixMilli(millis).UTC().AppendFormat(w.hourText[:0], "2006-01-02T15:")
	}
	rest := millis % hourMillis
	dst = append(dst, w.hourText...)
	dst = append(appendDigits(dst, rest/60_000, 2), ':')
	dst = append(appendDigits(dst, rest/1000%60, 2), '.')
	return append(appendDigits(dst, rest%1000, 3), 'Z')
}

func appendDigits(dst []byte, n int64, digits int) []byte {
	div := int64(1)
	for range digits - 1 {
		div *= 10
	}
	for ; div > 0; div /= 10 {
		dst = append(dst, byte('0'+n/div%10))
	}
	return dst
}

// void appends an event that takes c back.
func (w *writer) void(dst []byte, id string, at int64, source, target string) []byte {
	dst = append(dst, `{"specversion":"1.0","id":"`+w.run+`-`+id+`","source":"`+source+`","type":"void","time":"`...)
	dst = w.time(dst, at)
	return append(dst, `","data":{"corrects":{"source":"`+source+`","id":"`+target+`"}}}`...)
}

// adjustment appends a credit or a charge on a pair.
func (w *writer) adjustment(dst []byte, id string, at int64, x *pair, amount schemas.Money) []byte {
	dst = append(dst, `{"specversion":"1.0","id":"`+w.run+`-`+id+`","source":"`+x.source...)
	dst = append(dst, `","type":"adjustment","time":"`...)
	dst = w.time(dst, at)
	return append(dst, `","data":{`+x.names+`,"amount":"`+amount.String()+`"}}`...)
}

// badKinds are the ways in which an event can be wrong and still be JSON.
const badKinds = 5

// bad appends an event that a door must refuse.
func (w *writer) bad(dst []byte, c *call, kind uint64) []byte {
	typ, at, model, tokens := "llm.call", "", c.pair.model.id, `"tokens":{"input":12,"output":3}`
	switch kind {
	case 0:
		tokens = `"tokens":{"input":-12,"output":3}`
	case 1:
		model = ""
	case 2:
		typ = "llm.cal"
	case 3:
		at = "2099-01-01T00:00:00Z" // a clock that is wrong
	default:
		tokens = `"tokens":{"prompt":12}`
	}
	dst = append(dst, `{"specversion":"1.0","id":"`+w.id(c.number)+`","source":"`+c.pair.source...)
	dst = append(dst, `","type":"`+typ+`","time":"`...)
	if at != "" {
		dst = append(dst, at...)
	} else {
		dst = w.time(dst, c.at)
	}
	return append(dst, `","data":{"provider":"`+c.pair.model.provider+`","model":"`+model+`",`+tokens+`}}`...)
}
