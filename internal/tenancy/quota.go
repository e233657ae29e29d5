package tenancy

import (
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// A Limit is how much of something a tenant may have: a whole number, or
// Unlimited. On the wire it is a number or the word "unlimited".
type Limit int64

// Unlimited bounds nothing.
const Unlimited Limit = -1

// limitMax bounds a limit, so that it can be multiplied by a GB and by 100 in 128
// bits, and no reader of JSON has to round it.
const limitMax Limit = 1 << 53

const unlimitedWord = "unlimited"

// String is the number or "unlimited".
func (l Limit) String() string {
	if l == Unlimited {
		return unlimitedWord
	}
	return strconv.FormatInt(int64(l), 10)
}

// MarshalJSON writes a number or "unlimited".
func (l Limit) MarshalJSON() ([]byte, error) {
	if l == Unlimited {
		return []byte(`"` + unlimitedWord + `"`), nil
	}
	return strconv.AppendInt(nil, int64(l), 10), nil
}

// UnmarshalJSON reads a whole number from 0 on or "unlimited". Errors match
// schemas.ErrInvalid.
func (l *Limit) UnmarshalJSON(text []byte) error {
	word := string(text)
	if text[0] == '"' {
		if err := json.Unmarshal(text, &word); err != nil {
			return err
		}
	}
	got, err := ParseLimit(word)
	*l = got
	return err
}

// ParseLimit reads a whole number from 0 to 2^53 or "unlimited". Errors match
// schemas.ErrInvalid.
func ParseLimit(text string) (Limit, error) {
	if text == unlimitedWord {
		return Unlimited, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || Limit(n) > limitMax {
		return 0, schemas.Invalid("", schemas.CodeOutOfRange, "%q is not a whole number from 0 to %d or \"unlimited\"", text, limitMax)
	}
	return Limit(n), nil
}

// A QuotaName is one of the limits of a tenant.
type QuotaName string

// The quotas, as they are called everywhere.
const (
	MaxAgents             QuotaName = "max_agents"
	MaxMonthlyTokens      QuotaName = "max_monthly_tokens"
	MaxStorageGB          QuotaName = "max_storage_gb"
	MaxConcurrentSessions QuotaName = "max_concurrent_sessions"
	MaxAPICallsPerMinute  QuotaName = "max_api_calls_per_minute"
)

// QuotaNames lists the quotas in the order of the guide.
func QuotaNames() []QuotaName {
	return []QuotaName{MaxAgents, MaxMonthlyTokens, MaxStorageGB, MaxConcurrentSessions, MaxAPICallsPerMinute}
}

// Quotas are limits that hold: those of the plan, or of the tenant where it has one
// of its own.
type Quotas struct {
	// MaxAgents bounds the agents that exist at a time.
	MaxAgents Limit `json:"max_agents"`
	// MaxMonthlyTokens bounds the tokens of all buckets in a UTC month.
	MaxMonthlyTokens Limit `json:"max_monthly_tokens"`
	// MaxStorageGB bounds what is stored, in GB of 1e9 bytes.
	MaxStorageGB Limit `json:"max_storage_gb"`
	// MaxConcurrentSessions bounds the sessions that run at a time.
	MaxConcurrentSessions Limit `json:"max_concurrent_sessions"`
	// MaxAPICallsPerMinute bounds requests, as a rate that may be used in bursts of
	// one minute.
	MaxAPICallsPerMinute Limit `json:"max_api_calls_per_minute"`
}

// field returns the place of a quota, nil for an unknown name.
func (q *Quotas) field(name QuotaName) *Limit {
	switch name {
	case MaxAgents:
		return &q.MaxAgents
	case MaxMonthlyTokens:
		return &q.MaxMonthlyTokens
	case MaxStorageGB:
		return &q.MaxStorageGB
	case MaxConcurrentSessions:
		return &q.MaxConcurrentSessions
	case MaxAPICallsPerMinute:
		return &q.MaxAPICallsPerMinute
	}
	return nil
}

// Of returns a quota by name. An unknown name panics.
func (q Quotas) Of(name QuotaName) Limit { return *q.field(name) }

// QuotaOverrides are the limits of a tenant that differ from its plan's.
type QuotaOverrides map[QuotaName]Limit

// on returns quotas with the overrides in place.
func (o QuotaOverrides) on(q Quotas) Quotas {
	for name, limit := range o {
		*q.field(name) = limit
	}
	return q
}

func (o QuotaOverrides) validate() (errs []error) {
	for _, name := range slices.Sorted(maps.Keys(o)) {
		switch limit := o[name]; {
		case new(Quotas).field(name) == nil:
			errs = append(errs, schemas.Invalid("/quotas/"+string(name), schemas.CodeUnknown, "the quotas are %s", joinQuotaNames()))
		case limit != Unlimited && (limit < 0 || limit > limitMax):
			errs = append(errs, schemas.Invalid("/quotas/"+string(name), schemas.CodeOutOfRange,
				"%d is not from 0 to %d; write \"unlimited\" for no limit", int64(limit), int64(limitMax)))
		}
	}
	return errs
}

func joinQuotaNames() string {
	names := QuotaNames()
	words := make([]string, len(names))
	for i, n := range names {
		words[i] = string(n)
	}
	return strings.Join(words, ", ")
}

// StorageBytes is the storage limit in bytes, Unlimited as it is. It is at most
// 2^63-1: more cannot be stored.
func (q Quotas) StorageBytes() Limit {
	const gb = 1_000_000_000
	switch {
	case q.MaxStorageGB == Unlimited:
		return Unlimited
	case q.MaxStorageGB > math.MaxInt64/gb:
		return math.MaxInt64
	}
	return q.MaxStorageGB * gb
}
