package aggregate

import (
	"fmt"

	"github.com/agentik-os/panda/schemas"
)

// OfTenant is the kind of an Account that is the tenant as a whole; the others are
// OfDepartment, OfAgent and OfCostCenter.
const OfTenant = -1

// An Account is whose cost in which month or day is asked for.
type Account struct {
	Window schemas.Window
	Kind   int
	Name   string // "" of OfTenant
}

// Spending is what an Account has used. It is meaningless unless Known: live totals do
// not hold the window, or the tenant has more names than they keep apart.
type Spending struct {
	Known bool
	Cost  schemas.Money
	// Tokens are of all buckets, of OfTenant alone.
	Tokens int64
}

// A Standing is what a tenant uses of its limits, all as of one commit.
type Standing struct {
	AsOf Position
	// The newest levels known; 0 if none was ever reported.
	Agents, StorageBytes, Sessions int64
	// Spent has an entry per account that was asked for.
	Spent []Spending
}

// Standing returns what a tenant uses: the levels, and the sums of accounts. It costs
// the same whatever the tenant's size. The error matches schemas.ErrUnavailable while
// live totals are not ready.
func (l *Live) Standing(tenant string, accounts []Account) (Standing, error) {
	var s Standing
	ready := l.read(tenant, func(f *Fold, at Position) {
		s = Standing{AsOf: at, Agents: f.level(tenant, schemas.LevelAgents), StorageBytes: f.level(tenant, schemas.LevelStorageBytes),
			Sessions: f.level(tenant, schemas.LevelConcurrentSessions), Spent: make([]Spending, len(accounts))}
		for i := range accounts {
			s.Spent[i] = f.spending(tenant, &accounts[i])
		}
	})
	if !ready {
		return Standing{}, fmt.Errorf("read what %s uses: live totals are not ready: %w", tenant, schemas.ErrUnavailable)
	}
	return s, nil
}

func (f *Fold) spending(tenant string, a *Account) (s Spending) {
	if !f.Keeps(a.Window) {
		return Spending{}
	}
	if a.Kind != OfTenant {
		s.Cost, s.Known = f.Spent(tenant, a.Window, a.Kind, a.Name)
		return s
	}
	s.Known = true
	if _, w := f.find(tenant, a.Window); w != nil {
		s.Cost, s.Tokens = w.total.Cost, w.total.Tokens.Total()
	}
	return s
}
