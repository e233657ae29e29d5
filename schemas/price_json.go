package schemas

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Encode returns the revision as it goes on the log: compressed JSON, the same
// bytes for the same revision. It refuses one that is larger than
// PriceEncodedMax.
func (r PriceRevision) Encode() ([]byte, error) {
	var buf bytes.Buffer
	zip, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("open gzip: %w", err)
	}
	if err := json.NewEncoder(zip).Encode(r); err != nil {
		return nil, fmt.Errorf("encode price revision: %w", err)
	}
	if err := zip.Close(); err != nil {
		return nil, fmt.Errorf("close gzip: %w", err)
	}
	if buf.Len() > PriceEncodedMax {
		return nil, Invalid("", CodeTooLong, "the price revision takes %d bytes compressed; at most %d fit one message",
			buf.Len(), PriceEncodedMax)
	}
	return buf.Bytes(), nil
}

// DecodePriceRevision reads what Encode wrote. A field it does not know is an
// error: an older program must not price with half of a newer row.
func DecodePriceRevision(data []byte) (PriceRevision, error) {
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return PriceRevision{}, Invalid("", CodeMalformed, "a price revision is gzip: %v", err)
	}
	text, err := io.ReadAll(io.LimitReader(zip, PriceDecodedMax+1))
	if err != nil {
		return PriceRevision{}, Invalid("", CodeMalformed, "unpack price revision: %v", err)
	}
	if len(text) > PriceDecodedMax {
		return PriceRevision{}, Invalid("", CodeTooLong, "the price revision unpacks to more than %d bytes", PriceDecodedMax)
	}
	return ParsePriceRevision(text)
}

// ParsePriceRevision reads the JSON of a revision, uncompressed. It does not
// check the prices; BuildPriceBook does.
func ParsePriceRevision(text []byte) (PriceRevision, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	var r PriceRevision
	if err := dec.Decode(&r); err != nil {
		return PriceRevision{}, Invalid("", CodeMalformed, "read price revision: %v", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return PriceRevision{}, Invalid("", CodeMalformed, "a price revision is one JSON object; more follows it")
	}
	return r, nil
}

// The scale of prices as text: USD per million tokens has six decimals where
// USD per token has twelve.
const picoPerMtokStep = 1_000_000

// MarshalJSON writes the prices in USD per million tokens, in bucket order.
func (p TokenPrices) MarshalJSON() ([]byte, error) {
	var b []byte
	b = append(b, '{')
	for i := range BucketCount {
		if !p.Has[i] {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, bucketNames[i]...)
		b = append(b, `":"`...)
		b = append(b, plainDecimal(Mul(p.Pico[i], picoPerMtokStep))...)
		b = append(b, '"')
	}
	return append(b, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *TokenPrices) UnmarshalJSON(text []byte) error {
	var named map[string]string
	if err := json.Unmarshal(text, &named); err != nil {
		return fmt.Errorf("read token prices: %w", err)
	}
	*p = TokenPrices{}
	for name, value := range named {
		b, ok := ParseBucket(name)
		if !ok {
			return Invalid("/"+name, CodeUnknown, "%q is not a token bucket", clip(name))
		}
		m, err := ParseMoney(value)
		if err != nil {
			return fmt.Errorf("read price of %s: %w", name, err)
		}
		pico, ok := m.Int64()
		if !ok || pico%picoPerMtokStep != 0 {
			return Invalid("/"+name, CodeOutOfRange,
				"%q USD per million tokens does not fit six decimals and 64 bits", clip(value))
		}
		p.Set(b, pico/picoPerMtokStep)
	}
	return nil
}

// MarshalJSON writes the prices in USD per unit.
func (p UnitPrices) MarshalJSON() ([]byte, error) {
	named := make(map[string]string, len(p))
	for name, pico := range p {
		named[name] = plainDecimal(Pico(pico))
	}
	return json.Marshal(named)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (p *UnitPrices) UnmarshalJSON(text []byte) error {
	var named map[string]string
	if err := json.Unmarshal(text, &named); err != nil {
		return fmt.Errorf("read unit prices: %w", err)
	}
	*p = make(UnitPrices, len(named))
	for name, value := range named {
		m, err := ParseMoney(value)
		if err != nil {
			return fmt.Errorf("read price of %s: %w", name, err)
		}
		pico, ok := m.Int64()
		if !ok {
			return Invalid("/"+name, CodeOutOfRange, "%q USD per unit does not fit 64 bits", clip(value))
		}
		(*p)[name] = pico
	}
	return nil
}

// plainDecimal is Money.String without padding: "3", "0.3".
func plainDecimal(m Money) string {
	s := strings.TrimRight(m.String(), "0")
	return strings.TrimSuffix(s, ".")
}

// String returns "6" or "1/2".
func (r Ratio) String() string {
	if r.Den == 1 {
		return strconv.FormatInt(r.Num, 10)
	}
	return strconv.FormatInt(r.Num, 10) + "/" + strconv.FormatInt(r.Den, 10)
}

// MarshalText returns String.
func (r Ratio) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads "6" or "1/2".
func (r *Ratio) UnmarshalText(text []byte) error {
	num, den, fraction := strings.Cut(string(text), "/")
	n, err := strconv.ParseInt(num, 10, 64)
	d := int64(1)
	if err == nil && fraction {
		d, err = strconv.ParseInt(den, 10, 64)
	}
	if err != nil || n < 0 || n > RatioMax || d < 1 || d > RatioMax {
		return Invalid("", CodeMalformed, "%q is not a multiplier such as \"6\" or \"1/2\"", clip(string(text)))
	}
	*r = Ratio{n, d}
	return nil
}

// String returns "HH:MM-HH:MM", with seconds where there are any.
func (d DailyHours) String() string { return clockText(d.From) + "-" + clockText(d.To) }

func clockText(second int32) string {
	s := fmt.Sprintf("%02d:%02d", second/3600, second/60%60)
	if second%60 != 0 {
		s += fmt.Sprintf(":%02d", second%60)
	}
	return s
}

// MarshalText returns String.
func (d DailyHours) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads "HH:MM-HH:MM".
func (d *DailyHours) UnmarshalText(text []byte) error {
	from, to, _ := strings.Cut(string(text), "-")
	f, okFrom := parseClock(from)
	t, okTo := parseClock(to)
	if !okFrom || !okTo || f == t {
		return Invalid("", CodeMalformed, "%q is not a part of the day such as \"00:30-16:30\"", clip(string(text)))
	}
	*d = DailyHours{f, t}
	return nil
}

func parseClock(s string) (int32, bool) {
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return 0, false
	}
	second := int32(0)
	for i, limit := range []int{24, 60, 60}[:len(parts)] {
		n, err := strconv.Atoi(parts[i])
		if err != nil || len(parts[i]) != 2 || !digitsOnly(parts[i]) || n >= limit {
			return 0, false
		}
		second = second*60 + int32(n)
	}
	if len(parts) == 2 {
		second *= 60
	}
	return second, true
}
