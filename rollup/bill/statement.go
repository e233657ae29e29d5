package bill

import "github.com/agentik-os/panda/schemas"

// A Statement is what a tenant owes for a month.
type Statement struct {
	ID       string
	Tenant   string
	Month    string // "2026-02", UTC
	Currency string // upper case, ISO 4217

	PlanVersion int    // of schemas/plans.yaml, whose rates were applied
	Sealed      bool   // nothing changes it any more
	AsOf        uint64 // the ledger position whose usage it holds
	Checksum    string // hex sha256 of its canonical JSON

	Lines []Line
	Total int64         // minor units; the sum of the lines
	Exact schemas.Money // before rounding
}

// A Line is one thing on a statement.
type Line struct {
	ID          string // stable: hash of tenant, month, kind and key
	Kind        string
	Key         string
	Description string
	Model       string
	Department  string
	Quantity    string
	Amount      int64 // minor units, may be negative
	Exact       schemas.Money
	Parts       []Part
}

// A Part is the share of a line that belongs to a department, model, cost centre and
// agent. The parts of a line sum to it, exactly and rounded.
type Part struct {
	Department string
	Model      string
	CostCenter string
	Agent      string
	Amount     int64 // minor units
	Exact      schemas.Money
}
