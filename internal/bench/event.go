package bench

import (
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"time"
)

// A Body is a batch of events as JSON whose ids and times can be written over:
// all of them have a fixed length. It is for one goroutine.
type Body struct {
	Text  []byte
	ids   []int // where the 36 characters of an id begin
	times []int // where the 24 characters of a time begin
	rnd   *rand.Rand
	// Strangers makes Fill give every event an agent that no other has.
	Strangers bool
}

// A shape is a model and the usual size of its calls.
type shape struct {
	names                    string
	input, cacheRead, output uint64
}

// Shapes are models that the price catalog knows.
func shapes() []shape {
	return []shape{
		{`"provider":"anthropic","model":"claude-opus-4-6"`, 2400, 18_000, 900},
		{`"provider":"anthropic","model":"claude-sonnet-4-5"`, 1800, 12_000, 600},
		{`"provider":"anthropic","model":"claude-haiku-4-5"`, 900, 4_000, 250},
		{`"provider":"openai","model":"gpt-4o"`, 1300, 2_000, 350},
	}
}

// The variety of one tenant: 40 agents in 6 departments, 300 users.
const (
	agentCount      = 40
	userCount       = 300
	callsPerSession = 7
)

func departments() []string {
	return []string{"support", "engineering", "sales", "legal", "operations", "finance"}
}

// NewBody returns a batch of events that happened in the second before at. The
// same seed makes the same events but for ids and times.
func NewBody(seed uint64, events int, at time.Time) *Body {
	const stream = 0x62656e6368
	b := &Body{rnd: rand.New(rand.NewPCG(seed, stream))}
	b.Fill(events, at)
	return b
}

// Fill makes new events in place of the old ones.
func (b *Body) Fill(events int, at time.Time) {
	all, places := shapes(), departments()
	b.Text, b.ids, b.times = append(b.Text[:0], '['), b.ids[:0], b.times[:0]
	session := b.rnd.Uint64()
	for i := range events {
		if i > 0 {
			b.Text = append(b.Text, ',')
		}
		if i%callsPerSession == 0 {
			session = b.rnd.Uint64()
		}
		r := b.rnd.Uint64()
		s, agent := &all[weighted(r&15)], r>>4%agentCount
		b.Text = append(b.Text, `{"specversion":"1.0","id":"`...)
		b.ids = append(b.ids, len(b.Text))
		b.Text = append(b.Text, `00000000-0000-7000-8000-000000000000","source":"/runtime/eu-1","type":"llm.call","time":"`...)
		b.times = append(b.times, len(b.Text))
		b.Text = append(b.Text, `2026-01-01T00:00:00.000Z","data":{`...)
		b.Text = append(b.Text, s.names...)
		b.Text = append(append(b.Text, `,"department":"`...), places[agent%uint64(len(places))]...)
		b.Text = strconv.AppendUint(append(b.Text, `","cost_center":"CC-10`...), agent%uint64(len(places)), 10)
		b.Text = strconv.AppendUint(append(b.Text, `","agent":"agent-`...), agent, 10)
		if b.Strangers {
			b.Text = strconv.AppendUint(append(b.Text, '-'), b.rnd.Uint64(), 36)
		}
		b.Text = strconv.AppendUint(append(b.Text, `","user":"u-`...), r>>16%userCount, 10)
		b.Text = strconv.AppendUint(append(b.Text, `","session":"s-`...), session>>32, 16)
		output := uneven(b.rnd.Uint64(), s.output)
		b.Text = strconv.AppendUint(append(b.Text, `","latency_ms":`...), 350+r>>32&255+11*output, 10)
		b.Text = strconv.AppendUint(append(b.Text, `,"tokens":{"input":`...), uneven(b.rnd.Uint64(), s.input), 10)
		if r>>40&3 != 0 { // three calls in four read from a cache
			b.Text = strconv.AppendUint(append(b.Text, `,"cache_read":`...), uneven(b.rnd.Uint64(), s.cacheRead), 10)
		}
		b.Text = strconv.AppendUint(append(b.Text, `,"output":`...), output, 10)
		b.Text = append(b.Text, `}}}`...)
	}
	b.Text = append(b.Text, ']')
	b.Renew(at)
}

// weighted picks a shape: of 16 calls 3, 6, 5 and 2.
func weighted(n uint64) int {
	switch {
	case n < 3:
		return 0
	case n < 9:
		return 1
	case n < 14:
		return 2
	}
	return 3
}

// uneven returns a positive number around mean: the product of two even ones,
// so that most are small and a few are four times the mean.
func uneven(r, mean uint64) uint64 {
	const bits = 12
	a, c := r&(1<<bits-1)+1, r>>bits&(1<<bits-1)+1
	return mean*4*a*c>>(2*bits) + 1
}

// Renew gives every event a new UUIDv7 (RFC 9562) and a time in the second
// before at, without touching anything else.
func (b *Body) Renew(at time.Time) {
	second := at.Add(-time.Second).Truncate(time.Second).UTC()
	text := second.AppendFormat(make([]byte, 0, 24), "2006-01-02T15:04:05.000Z")
	millis := uint64(second.UnixMilli())
	for i, place := range b.ids {
		ms := uint64(i*2) % 1000
		t := b.Text[b.times[i] : b.times[i]+24]
		copy(t, text)
		t[20], t[21], t[22] = byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10)
		writeID(b.Text[place:place+36], millis+ms, b.rnd)
	}
}

// writeID writes a UUIDv7 of a moment over 36 characters that have the dashes.
func writeID(id []byte, millis uint64, rnd *rand.Rand) {
	r, s := rnd.Uint64(), rnd.Uint64()
	raw := [16]byte{byte(millis >> 40), byte(millis >> 32), byte(millis >> 24), byte(millis >> 16), byte(millis >> 8), byte(millis),
		0x70 | byte(r)&0x0f, byte(r >> 8), 0x80 | byte(r>>16)&0x3f, byte(r >> 24),
		byte(s), byte(s >> 8), byte(s >> 16), byte(s >> 24), byte(s >> 32), byte(s >> 40)}
	hex.Encode(id[0:8], raw[0:4])
	hex.Encode(id[9:13], raw[4:6])
	hex.Encode(id[14:18], raw[6:8])
	hex.Encode(id[19:23], raw[8:10])
	hex.Encode(id[24:36], raw[10:16])
}
