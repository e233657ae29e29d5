package ingest

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// tokens reads an object of token counts by bucket.
func (d *EventDecoder) tokens(t *schemas.Tokens) error {
	s := &d.scan
	if err := s.enter('{', "an object of token counts by bucket"); err != nil {
		return err
	}
	var seen uint32
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil || !more {
			return err
		}
		bucket, ok := bucketOf(key)
		if !ok {
			return schemas.Invalid(pointerTo("/data/tokens", key), schemas.CodeUnknown,
				"%q is not a token bucket; use input, cache_read, cache_write_5m, cache_write_1h, output, "+
					"reasoning, audio_in, audio_out or image, or send the provider's own object as usage", clipped(key))
		}
		if seen&(1<<bucket) != 0 {
			return repeated("/data/tokens/" + bucket.String())
		}
		seen |= 1 << bucket
		if t[bucket], err = s.integer(); err != nil {
			return at("/data/tokens/"+bucket.String(), err)
		}
	}
}

func bucketOf(key []byte) (schemas.Bucket, bool) {
	for b := range schemas.Bucket(schemas.BucketCount) {
		if b.String() == string(key) {
			return b, true
		}
	}
	return 0, false
}

// totalTokens reads the sum that came with the buckets. It has a limit of its
// own, so that comparing it cannot overflow.
func (d *EventDecoder) totalTokens() (int64, error) {
	const limit = schemas.TokensPerBucketMax * int64(schemas.BucketCount)
	n, err := d.scan.integer()
	if err == nil && (n > limit || n < -limit) {
		err = schemas.Invalid("", schemas.CodeOutOfRange, "%d is outside %d to %d tokens", n, -limit, limit)
	}
	return n, err
}

// captureUsage keeps the extent of the provider's usage object. It is read when
// the provider is known.
func (d *EventDecoder) captureUsage() error {
	s := &d.scan
	if s.peek() != '{' {
		return s.mismatch("the provider's usage object")
	}
	start := s.i
	err := s.skip()
	d.usage = s.b[start:s.i]
	return err
}

// unitsField reads an object of counts by name.
func (d *EventDecoder) unitsField(e *schemas.Event) error {
	s := &d.scan
	if err := s.enter('{', "an object of counts by name"); err != nil {
		return err
	}
	start := len(d.units)
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if len(d.units)-start == schemas.UnitsMax {
			return schemas.Invalid("", schemas.CodeTooMany, "there are more than %d kinds of units; send fewer", schemas.UnitsMax)
		}
		if err := fits(key, schemas.UnitNameMax); err != nil {
			return at(pointerTo("/data/units", key), err)
		}
		u := schemas.Unit{Name: d.name(key)}
		if u.Count, err = s.integer(); err != nil {
			return at(pointerTo("/data/units", []byte(u.Name)), err)
		}
		d.units = append(d.units, u)
	}
	e.Units = d.keepUnits(start)
	return nil
}

// keepUnits returns the units collected since start, sorted by name.
func (d *EventDecoder) keepUnits(start int) []schemas.Unit {
	units := d.units[start:len(d.units):len(d.units)]
	if len(units) == 0 {
		return nil
	}
	slices.SortFunc(units, func(a, b schemas.Unit) int { return strings.Compare(a.Name, b.Name) })
	return units
}

// levelsField reads the levels of a resource.sample.
func (d *EventDecoder) levelsField() error {
	s := &d.scan
	if err := s.enter('{', "an object of levels"); err != nil {
		return err
	}
	for first := true; ; first = false {
		key, more, err := s.key(first)
		if err != nil || !more {
			return err
		}
		var level schemas.Unit
		pointer := pointerTo("/data/levels", key)
		switch string(key) {
		case schemas.LevelAgents, schemas.LevelConcurrentSessions:
			level.Name = d.name(key)
			level.Count, err = s.integer()
		case levelStorageGB:
			level.Name = schemas.LevelStorageBytes
			level.Count, err = d.storageBytes()
		default:
			return schemas.Invalid(pointer, schemas.CodeUnknown,
				"%q is not a level; use agents, concurrent_sessions or storage_gb", clipped(key))
		}
		if err == nil && level.Count < 0 {
			err = schemas.Invalid("", schemas.CodeOutOfRange, "a level cannot be negative")
		}
		if err == nil && level.Name != schemas.LevelStorageBytes && level.Count > schemas.TokensPerBucketMax {
			err = schemas.Invalid("", schemas.CodeOutOfRange, "%d is more than %d", level.Count, int64(schemas.TokensPerBucketMax))
		}
		if err != nil {
			return at(pointer, err)
		}
		for _, l := range d.levels {
			if l.Name == level.Name {
				return repeated(pointer)
			}
		}
		d.levels = append(d.levels, level)
	}
}

// levelStorageGB is how schemas.LevelStorageBytes is written on the wire.
const levelStorageGB = "storage_gb"

// storageBytes reads a decimal number of gigabytes with at most nine decimals,
// which is a whole number of bytes.
func (d *EventDecoder) storageBytes() (int64, error) {
	m, err := d.decimal("a decimal number of gigabytes")
	if err != nil {
		return 0, err
	}
	// A Money counts 1e-12 of its unit: 1000 of them are one byte.
	const picoPerByte, storageGBMax = 1000, 1_000_000_000
	if m.Cmp(schemas.Mul(schemas.PicoPerUSD, storageGBMax)) > 0 {
		return 0, schemas.Invalid("", schemas.CodeOutOfRange, "this is more than %d GB", storageGBMax)
	}
	if m.Sign() < 0 {
		return 0, schemas.Invalid("", schemas.CodeOutOfRange, "a level cannot be negative")
	}
	hi, lo := m.Words()
	bytes, rest := bits.Div64(uint64(hi), lo, picoPerByte)
	if rest != 0 {
		return 0, schemas.Invalid("", schemas.CodeOutOfRange, "storage has more than nine decimals, so it is not whole bytes")
	}
	return int64(bytes), nil
}

func (d *EventDecoder) amount() (schemas.Money, error) {
	return d.decimal(`a decimal amount such as "12.50"`)
}

// decimal reads a decimal in a string, or a number by its text.
func (d *EventDecoder) decimal(wanted string) (schemas.Money, error) {
	s := &d.scan
	var text []byte
	var err error
	if s.peek() == '"' {
		text, err = s.str()
	} else {
		text, err = s.number(wanted)
	}
	if err != nil {
		return schemas.Money{}, err
	}
	return schemas.ParseMoney(string(text))
}

// finishLevels makes the levels of a resource.sample its units.
func (d *EventDecoder) finishLevels(e *schemas.Event) error {
	hasLevels := d.fields>>fieldLevels&1 == 1
	switch {
	case e.Type != schemas.TypeResourceSample && hasLevels:
		return schemas.Invalid("/data/levels", schemas.CodeNotAllowed,
			"levels belong to %s events only", schemas.TypeResourceSample)
	case e.Type == schemas.TypeResourceSample && len(e.Units) > 0:
		return schemas.Invalid("/data/units", schemas.CodeNotAllowed,
			"a %s has levels, which replace each other, and no units, which are summed", e.Type)
	case len(d.levels) > 0:
		start := len(d.units)
		d.units = append(d.units, d.levels...)
		e.Units = d.keepUnits(start)
	}
	return nil
}
