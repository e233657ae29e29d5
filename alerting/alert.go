package alerting

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/agentik-os/panda/schemas"
)

// A Kind says what a record on DECISIONS tells of an alert.
type Kind string

// The kinds of records.
const (
	// Fired: a threshold was crossed or a condition held for as long as its rule asks.
	Fired Kind = "fired"
	// Resolved: it is no longer so. Cause says why.
	Resolved Kind = "resolved"
	// Reopened: a threshold that was resolved is crossed again in the same period and
	// revision. People see it in lists; nobody is told a second time.
	Reopened Kind = "reopened"
	// Acked: a person has taken note.
	Acked Kind = "acked"
)

// A State is how things stand with an alert.
type State string

// The states.
const (
	Firing   State = "firing"
	Ended    State = "resolved"
	Replaced State = "superseded" // its limit was changed; the new one has alerts of its own
	Over     State = "expired"    // its period is over
)

// A Cause is why an alert was resolved.
type Cause string

// The causes.
const (
	// ByCorrection: usage went down: a void, an adjustment, or a level that fell.
	ByCorrection Cause = "correction"
	// ByLimit: the limit was raised or taken away.
	ByLimit Cause = "limit_changed"
	// ByPeriod: the month or day is over. Only channels that keep incidents open are
	// told.
	ByPeriod Cause = "period_over"
	// ByCondition: the condition of a rule does not hold any more.
	ByCondition Cause = "condition_over"
	// ByRule: the rule or the tenant is gone.
	ByRule Cause = "rule_removed"
)

// A Severity says how urgent an alert is.
type Severity string

// The severities, from the mildest. Thresholds below 90 are SeverityInfo, below 100
// SeverityWarning, the others SeverityCritical.
const (
	SeverityInfo     Severity = "info"
	SeverityWarning  Severity = "warning"
	SeverityCritical Severity = "critical"
)

// Rank orders severities; 0 is unknown.
func (s Severity) Rank() int {
	switch s {
	case SeverityInfo:
		return 1
	case SeverityWarning:
		return 2
	case SeverityCritical:
		return 3
	}
	return 0
}

// Platform stands for the tenant of what is no tenant's, in subjects and in keys.
const Platform = "platform"

// RuleThreshold is the name of the built-in rule: 80, 90 and 100 % of every limit.
const RuleThreshold = "threshold"

// An Identity is what an alert is about. Two crossings with the same identity are the
// same alert.
type Identity struct {
	// Tenant is a tenant's id, "" for the platform.
	Tenant string `json:"tenant,omitempty"`
	// Rule is RuleThreshold or a rule's name; RuleHash tells apart two rules that had
	// this name one after the other.
	Rule     string `json:"rule"`
	RuleHash string `json:"rule_hash,omitempty"`
	// Limit is a limit's word, one of the Limit constants: monthly_budget,
	// department_daily_budget, monthly_tokens, and so on. "" where a rule is about none.
	Limit string `json:"limit,omitempty"`
	// Name is the department, cost center or agent whose limit it is, or the group of
	// a rule, "" for the tenant as a whole.
	Name string `json:"name,omitempty"`
	// Period is "2026-02" or "2026-02-14", in UTC; "" for rules, whose alerts come in
	// episodes.
	Period string `json:"period,omitempty"`
	// Revision changes whenever the limit does.
	Revision string `json:"revision,omitempty"`
	// Threshold is in percent of the limit; 0 for rules.
	Threshold int `json:"threshold,omitempty"`
}

const idPrefix = "alr_"

// ID is the alert's id: "alr_" and 96 bits of a hash over the identity's parts, each
// with its length in front.
func (i *Identity) ID() string {
	h := sha256.New()
	var n [8]byte
	for _, part := range []string{i.Tenant, i.Rule, i.RuleHash, i.Limit, i.Name, i.Period, i.Revision} {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		h.Write(n[:])
		h.Write([]byte(part))
	}
	binary.BigEndian.PutUint64(n[:], uint64(i.Threshold))
	h.Write(n[:])
	return idPrefix + hex.EncodeToString(h.Sum(nil)[:12])
}

// A Record is what stands on DECISIONS about an alert. Its facts are those of the
// moment of the decision, so a message that is sent late or again says the same.
type Record struct {
	Version  int      `json:"v"` // RecordVersion
	Alert    string   `json:"alert"`
	Episode  int      `json:"episode"`
	Kind     Kind     `json:"kind"`
	Identity Identity `json:"identity"`
	Severity Severity `json:"severity"`
	Cause    Cause    `json:"cause,omitempty"`
	// At is when it was decided; AsOf is the position in the log that the numbers
	// cover, and AckedAt when the oldest event was acknowledged that they are the first
	// to count, if known.
	At      time.Time `json:"at"`
	AsOf    uint64    `json:"as_of"`
	AckedAt time.Time `json:"acked_at,omitzero"`
	// Actor is who acked it.
	Actor string `json:"actor,omitempty"`
	Facts Facts  `json:"facts"`
}

// RecordVersion is the version of Record.
const RecordVersion = 1

// Facts are what a message says. Amounts are exact.
type Facts struct {
	TenantName string `json:"tenant_name,omitempty"`
	TenantSlug string `json:"tenant_slug,omitempty"`
	// Used and Max are of the limit; their unit is the limit's: USD, tokens, bytes or a
	// number of things.
	Used Amount `json:"used,omitzero"`
	Max  Amount `json:"max,omitzero"`
	// Percent is Used in percent of Max, rounded down.
	Percent int `json:"percent,omitempty"`
	// Forecast is what Used becomes by the end of the period at the present rate, and
	// ExhaustedAt when it reaches Max; zero if it does not, or is not known.
	Forecast    Amount    `json:"forecast,omitzero"`
	ExhaustedAt time.Time `json:"exhausted_at,omitzero"`
	// Models and Agents are the three that used most, with their share of the cost, or
	// of the tokens if the limit is one of tokens.
	Models []Share `json:"models,omitempty"`
	Agents []Share `json:"agents,omitempty"`
	// Condition, Values and Actions are of a rule: the condition as written, the values
	// that its names had, and what it does.
	Condition string            `json:"condition,omitempty"`
	Values    map[string]string `json:"values,omitempty"`
	Actions   []Action          `json:"actions,omitempty"`
	// Next says what happens now or at 100 %: "Only models that cost nothing may be
	// called.", for people.
	Next string `json:"next,omitempty"`
}

// A Share is a part of a sum.
type Share struct {
	Name string        `json:"name"`
	Cost schemas.Money `json:"cost"`
	// Percent of the whole, rounded down.
	Percent int `json:"percent"`
}

// A Unit is what an Amount counts.
type Unit string

// The units.
const (
	UnitUSD      Unit = "USD"
	UnitTokens   Unit = "tokens"
	UnitBytes    Unit = "bytes"
	UnitAgents   Unit = "agents"
	UnitSessions Unit = "sessions"
	UnitCalls    Unit = "calls"
)

// An Amount is an exact quantity: money if Unit is UnitUSD, a whole number otherwise.
type Amount struct {
	Unit  Unit          `json:"unit"`
	Money schemas.Money `json:"money,omitzero"`
	Count int64         `json:"count,omitempty"`
}

// IsZero reports whether nothing is known: an amount without a unit.
func (a Amount) IsZero() bool { return a.Unit == "" }

// An Action is what a rule does when it fires.
type Action string

// The actions, in the words of the platform's guide.
const (
	EmailAdmin      Action = "email-admin"      // the people who run the platform
	EmailTenant     Action = "email-tenant"     // billing address, owners and admins of the tenant
	SuspendTenant   Action = "suspend-tenant"   // until somebody resumes it
	PageOncall      Action = "page-oncall"      // the platform's PagerDuty channels
	ActionWebhook   Action = "webhook"          // the tenant's and the platform's webhooks
	ActionSlack     Action = "slack"            // the tenant's and the platform's Slack channels
	NotifyDashboard Action = "notify-dashboard" // the list of notifications
)

// A Limit is something that thresholds are shares of, with what is used of it as of one
// commit.
type Limit struct {
	// Limit, Name, Period and Revision are as in Identity. A revision begins with the
	// position on CONTROL of the change that made the limit what it is, and a dash, so
	// that two of them can be put in order.
	Limit, Name, Period, Revision string
	// Used is without a unit where it is not known. A negative Max is no limit.
	Used, Max Amount
}

// A Reading is a tenant's limits, all of them, as of one commit. It may hold a limit
// twice, for the present period and for one that is over: events come late.
type Reading struct {
	Tenant string
	Limits []Limit
	AsOf   uint64
	// Control is the position on CONTROL that the limits are as of.
	Control uint64
	// At is the moment that the periods are of.
	At time.Time
	// Quiet: the tenant is suspended or deleted. Nothing new fires; what fires goes on
	// and ends as ever.
	Quiet bool
}
