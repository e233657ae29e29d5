package api

import (
	"math"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/agentik-os/panda/aggregate"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// levelView says how much of a quota is used.
type levelView struct {
	Name tenancy.QuotaName `json:"quota"`
	// Word is what people call it.
	Word string `json:"name"`
	// Current is a decimal number in the unit; absent where nobody counts it here.
	Current string        `json:"current,omitempty"`
	Max     tenancy.Limit `json:"max"`
	Unit    string        `json:"unit"`
	// CurrentBytes is of storage.
	CurrentBytes *int64 `json:"current_bytes,omitempty"`
	// Percent is current in percent of max, rounded down; null without a limit.
	Percent *int64 `json:"percent"`
	AtLimit bool   `json:"at_limit"`
	// MeasuredAt is when a runtime last reported the level; absent before the first
	// time, and for what is counted here.
	MeasuredAt *time.Time `json:"measured_at,omitempty"`
}

// usageLevels is GET /v1/tenants/{tenant}/usage-levels: the quotas of a tenant and how
// much of each is used. Levels are what runtimes last reported, tokens those of the
// current UTC month.
func (a *API) usageLevels(w http.ResponseWriter, r *http.Request, scope tenancy.Scope) error {
	tenant, err := a.Registry.Find(scope, r.PathValue("tenant"))
	if err != nil {
		return err
	}
	stages, err := a.Stages()
	if err != nil {
		return err
	}
	stages.settle(r.Context(), tenant.ID)
	month := schemas.WindowOf(schemas.GrainMonth, a.Now())
	totals, asOf, ok := stages.of(tenant.ID).Live.Totals(tenant.ID, month)
	if !ok {
		return schemas.ErrUnavailable
	}
	levels, _, ok := stages.of(tenant.ID).Live.Levels(tenant.ID)
	if !ok {
		return schemas.ErrUnavailable
	}
	quotas := a.Registry.Quotas(&tenant)
	views := []levelView{
		counted(tenancy.MaxAgents, "agents", "agents", &quotas),
		counted(tenancy.MaxMonthlyTokens, "tokens", "tokens", &quotas),
		counted(tenancy.MaxStorageGB, "storage", "GB", &quotas),
		counted(tenancy.MaxConcurrentSessions, "sessions", "sessions", &quotas),
		counted(tenancy.MaxAPICallsPerMinute, "calls_per_minute", "calls/min", &quotas),
	}
	views[0].measured(levels, schemas.LevelAgents)
	views[1].use(totals.Tokens.Total(), quotas.MaxMonthlyTokens)
	views[2].measured(levels, schemas.LevelStorageBytes)
	views[2].storage(&quotas)
	views[3].measured(levels, schemas.LevelConcurrentSessions)
	if a.Calls != nil {
		views[4].use(a.Calls(tenant.ID), quotas.MaxAPICallsPerMinute)
	}
	return writeJSON(w, struct {
		Tenant tenantRef   `json:"tenant"`
		Month  string      `json:"month"`
		AsOf   position    `json:"as_of"`
		Levels []levelView `json:"levels"`
	}{refOf(&tenant), month.String(), position{Seq: asOf.Seq, Time: asOf.Time}, views})
}

func counted(name tenancy.QuotaName, word, unit string, quotas *tenancy.Quotas) levelView {
	return levelView{Name: name, Word: word, Unit: unit, Max: quotas.Of(name)}
}

// measured takes the level that runtimes report under a name, 0 before the first.
func (v *levelView) measured(levels []aggregate.Level, name string) {
	value := int64(0)
	for i := range levels {
		if levels[i].Name == name {
			value = levels[i].Value
			at := time.UnixMilli(levels[i].Time).UTC()
			v.MeasuredAt = &at
		}
	}
	v.use(value, v.Max)
}

// use sets what is used of a limit in the same unit.
func (v *levelView) use(current int64, limit tenancy.Limit) {
	v.Current = strconv.FormatInt(current, 10)
	if limit == tenancy.Unlimited {
		v.Percent, v.AtLimit = nil, false
		return
	}
	v.AtLimit = current >= int64(limit)
	percent := int64(100)
	if limit > 0 {
		// A month that holds only voids of earlier events may be below zero.
		share := new(big.Int).Mul(big.NewInt(max(current, 0)), big.NewInt(100))
		share.Quo(share, big.NewInt(int64(limit)))
		percent = math.MaxInt64
		if share.IsInt64() {
			percent = share.Int64()
		}
	}
	v.Percent = &percent
}

// storage turns a level in bytes into GB of 1e9 bytes.
func (v *levelView) storage(quotas *tenancy.Quotas) {
	bytes, _ := strconv.ParseInt(v.Current, 10, 64)
	v.use(bytes, quotas.StorageBytes())
	v.CurrentBytes = &bytes
	v.Current = gigabytes(bytes)
}

// gigabytes is a number of bytes in GB of 1e9 bytes, exactly.
func gigabytes(bytes int64) string {
	const gb = 1_000_000_000
	text := strconv.FormatInt(bytes/gb, 10)
	if rest := bytes % gb; rest != 0 {
		digits := strconv.FormatInt(gb+rest, 10)[1:]
		text += "." + strings.TrimRight(digits, "0")
	}
	return text
}
