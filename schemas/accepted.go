package schemas

// Accepted is an event with its verdict "new" and its price: one row of
// usage_raw. It is what the writer commits and what live totals are folded
// from.
//
// A void is accepted as the negation of the event it takes back: same time,
// same names, negative counts and cost, Calls -1. An adjustment carries its
// signed counts or amount and Calls 0. So every total is a plain sum of rows.
type Accepted struct {
	Tenant string
	// Seq and Idx are the event's place in the log: the stream sequence of its
	// message and its index inside it. They identify the row for ever.
	Seq uint64
	Idx uint16
	// ReceivedAt is the broker's timestamp of the message, Unix milliseconds.
	ReceivedAt int64
	// Event is the event as it counts. Its Model is the price book's canonical id
	// where one was found, so that a dated id and its plain form are one model;
	// Provider is filled in when the event named none.
	Event Event
	// ReportedModel is the model as it was sent, if that is another word.
	ReportedModel string
	// Calls is +1 for a call, -1 for the void of a call, 0 for anything that is
	// not a call: adjustments and resource samples.
	Calls int8
	// Cost is meaningless unless Priced. An event that no price is known for
	// has no cost; it never costs zero.
	Cost           Money
	Priced         bool
	UnpricedReason string
	PriceRevision  uint32
}

// CallsOf returns the Calls of an event that is accepted as it came.
func CallsOf(t EventType) int8 {
	switch t {
	case TypeLLMCall, TypeToolCall, TypeMessage:
		return 1
	}
	return 0
}

// A Dimension is a name that usage is broken down by.
type Dimension string

// The dimensions of rollups and live totals.
const (
	ByProvider   Dimension = "provider"
	ByModel      Dimension = "model"
	ByDepartment Dimension = "department"
	ByCostCenter Dimension = "cost_center"
	ByAgent      Dimension = "agent"
)

// Dimensions lists the dimensions in the order of their columns.
func Dimensions() []Dimension {
	return []Dimension{ByProvider, ByModel, ByDepartment, ByCostCenter, ByAgent}
}

// ParseDimension returns the dimension of a word on the command line or in a
// query.
func ParseDimension(s string) (Dimension, error) {
	for _, d := range Dimensions() {
		if string(d) == s {
			return d, nil
		}
	}
	return "", Invalid("/by", CodeUnknown, "%q is not a dimension; use provider, model, department, cost_center or agent", clip(s))
}
