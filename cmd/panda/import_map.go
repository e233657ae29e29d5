package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// wireEvent is a CloudEvent that is made of a row.
type wireEvent struct {
	SpecVersion string   `json:"specversion"`
	ID          string   `json:"id"`
	Source      string   `json:"source"`
	Type        string   `json:"type"`
	Time        string   `json:"time"`
	Data        wireData `json:"data"`
}

type wireData struct {
	Provider     string            `json:"provider,omitempty"`
	Model        string            `json:"model,omitempty"`
	Department   string            `json:"department,omitempty"`
	CostCenter   string            `json:"cost_center,omitempty"`
	Agent        string            `json:"agent,omitempty"`
	User         string            `json:"user,omitempty"`
	Session      string            `json:"session,omitempty"`
	Run          string            `json:"run,omitempty"`
	ParentRun    string            `json:"parent_run,omitempty"`
	Status       string            `json:"status,omitempty"`
	Error        string            `json:"error,omitempty"`
	LatencyMS    json.Number       `json:"latency_ms,omitempty"`
	Completeness string            `json:"completeness,omitempty"`
	ServiceTier  string            `json:"service_tier,omitempty"`
	Tokens       map[string]int64  `json:"tokens,omitempty"`
	Units        map[string]int64  `json:"units,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`
	Amount       string            `json:"amount,omitempty"`
}

// textTargets are where text goes as it is.
var textTargets = map[string]func(*wireEvent) *string{
	"id":           func(e *wireEvent) *string { return &e.ID },
	"source":       func(e *wireEvent) *string { return &e.Source },
	"type":         func(e *wireEvent) *string { return &e.Type },
	"provider":     func(e *wireEvent) *string { return &e.Data.Provider },
	"model":        func(e *wireEvent) *string { return &e.Data.Model },
	"department":   func(e *wireEvent) *string { return &e.Data.Department },
	"cost_center":  func(e *wireEvent) *string { return &e.Data.CostCenter },
	"agent":        func(e *wireEvent) *string { return &e.Data.Agent },
	"user":         func(e *wireEvent) *string { return &e.Data.User },
	"session":      func(e *wireEvent) *string { return &e.Data.Session },
	"run":          func(e *wireEvent) *string { return &e.Data.Run },
	"parent_run":   func(e *wireEvent) *string { return &e.Data.ParentRun },
	"status":       func(e *wireEvent) *string { return &e.Data.Status },
	"error":        func(e *wireEvent) *string { return &e.Data.Error },
	"completeness": func(e *wireEvent) *string { return &e.Data.Completeness },
	"service_tier": func(e *wireEvent) *string { return &e.Data.ServiceTier },
}

const (
	targetTime    = "time"
	targetLatency = "latency_ms"
	targetAmount  = "amount"
	tagPrefix     = "tag."
	unitPrefix    = "unit."
	tokensSuffix  = "_tokens"
)

// isTarget reports whether a column can be mapped to a name.
func isTarget(name string) bool {
	if _, ok := textTargets[name]; ok {
		return true
	}
	switch name {
	case targetTime, targetLatency, targetAmount:
		return true
	}
	for _, prefix := range []string{tagPrefix, unitPrefix} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			return rest != ""
		}
	}
	return isCount(name)
}

// isCount reports whether a target is a bucket of tokens.
func isCount(name string) bool {
	bucket, ok := strings.CutSuffix(name, tokensSuffix)
	if ok {
		_, ok = schemas.ParseBucket(bucket)
	}
	return ok
}

// targetNames lists the targets for help and errors.
func targetNames() string {
	names := sortedNames(textTargets)
	names = append(names, targetTime, targetLatency, targetAmount)
	slices.Sort(names)
	for b := range schemas.Bucket(schemas.BucketCount) {
		names = append(names, b.Column())
	}
	return strings.Join(append(names, "tag.NAME", "unit.NAME"), ", ")
}

// canonical checks a cell for its target and returns it in the one form that an
// event, and a row's id, are made of. Numbers are whole and exact: what would
// have to be guessed or rounded is refused.
func (m *mapping) canonical(target, cell string) (string, error) {
	switch {
	case target == targetTime:
		t, err := parseRowTime(cell, m.timeFormat)
		if err != nil {
			return "", err
		}
		return t.UTC().Format(time.RFC3339Nano), nil
	case target == targetAmount:
		amount, err := schemas.ParseMoney(cell)
		if err != nil {
			return "", err
		}
		return amount.String(), nil
	case target == targetLatency, isCount(target), strings.HasPrefix(target, unitPrefix):
		n, err := parseCount(cell)
		return strconv.FormatInt(n, 10), err
	}
	return cell, nil
}

// set puts a canonical value into an event.
func (e *wireEvent) set(target, value string) {
	if field, ok := textTargets[target]; ok {
		*field(e) = value
		return
	}
	switch target {
	case targetTime:
		e.Time = value
		return
	case targetLatency:
		e.Data.LatencyMS = json.Number(value)
		return
	case targetAmount:
		e.Data.Amount = value
		return
	}
	if key, ok := strings.CutPrefix(target, tagPrefix); ok {
		if e.Data.Tags == nil {
			e.Data.Tags = map[string]string{}
		}
		e.Data.Tags[key] = value
		return
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		panic("import: a count that is not canonical reached an event")
	}
	if name, ok := strings.CutPrefix(target, unitPrefix); ok {
		if e.Data.Units == nil {
			e.Data.Units = map[string]int64{}
		}
		e.Data.Units[name] = n
		return
	}
	if e.Data.Tokens == nil {
		e.Data.Tokens = map[string]int64{}
	}
	e.Data.Tokens[strings.TrimSuffix(target, tokensSuffix)] = n
}

// parseCount reads a whole number, digits only.
func parseCount(cell string) (int64, error) {
	digits := strings.TrimPrefix(cell, "-")
	for _, r := range digits {
		if r >= '0' && r <= '9' {
			continue
		}
		switch r {
		case ',', '\'', '_', ' ', '\u00a0', '\u202f':
			return 0, fmt.Errorf("%q is not a whole number; write it without separators, as %s", shortened(cell), onlyDigits(cell))
		case '.', 'e', 'E':
			return 0, fmt.Errorf("%q is not a whole number; counts have no decimals and no exponent", shortened(cell))
		}
		return 0, fmt.Errorf("%q is not a whole number", shortened(cell))
	}
	n, err := strconv.ParseInt(cell, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number of at most 64 bits", shortened(cell))
	}
	return n, nil
}

func onlyDigits(s string) string {
	return shortened(strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return -1
	}, s))
}

// shortened clips input that is quoted in an error.
func shortened(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// timeLayouts are the forms of a time in text. Without a zone it is UTC. A
// fraction of up to nine digits is read wherever seconds end.
var timeLayouts = []string{time.RFC3339, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "2006-01-02T15:04:05"}

// The named forms of --time-format.
const (
	timeAuto   = "auto"
	timeUnix   = "unix"
	timeUnixMS = "unix_ms"
	timeUnixUS = "unix_us"
)

// parseRowTime reads a time. With format auto a whole number is Unix time in
// seconds, milliseconds or microseconds, told apart by its size: the three do
// not meet between 1973 and 5138. Any other format is one of the constants or a
// layout of Go's time package, in UTC unless it has a zone.
func parseRowTime(cell, format string) (time.Time, error) {
	n, notNumber := strconv.ParseInt(cell, 10, 64)
	switch format {
	case timeAuto:
		if notNumber == nil {
			return unixTime(n)
		}
		for _, layout := range timeLayouts {
			if t, err := time.ParseInLocation(layout, cell, time.UTC); err == nil {
				return t, nil
			}
		}
		return time.Time{}, fmt.Errorf("%q is not a time; write RFC 3339, \"2006-01-02 15:04:05.999\" in UTC, or Unix time in whole "+
			"seconds, milliseconds or microseconds, or give --time-format", shortened(cell))
	case timeUnix, timeUnixMS, timeUnixUS:
		if notNumber != nil {
			return time.Time{}, fmt.Errorf("%q is not a whole number of Unix time", shortened(cell))
		}
		switch format {
		case timeUnix:
			return time.Unix(n, 0), nil
		case timeUnixMS:
			return time.UnixMilli(n), nil
		}
		return time.UnixMicro(n), nil
	}
	t, err := time.ParseInLocation(format, cell, time.UTC)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is not a time of the form %q", shortened(cell), format)
	}
	return t, nil
}

func unixTime(n int64) (time.Time, error) {
	const secondsMin, secondsMax, millisMax, microsMax = 1e8, 1e11, 1e14, 1e17
	switch {
	case n < secondsMin:
		return time.Time{}, fmt.Errorf("%d as Unix time lies before 1973; give --time-format unix, unix_ms or unix_us", n)
	case n < secondsMax:
		return time.Unix(n, 0), nil
	case n < millisMax:
		return time.UnixMilli(n), nil
	case n < microsMax:
		return time.UnixMicro(n), nil
	}
	return time.Time{}, fmt.Errorf("%d is too large for Unix time in microseconds", n)
}
