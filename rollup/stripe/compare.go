package stripe

import (
	"fmt"
	"strconv"
	"strings"
)

// Found is an invoice as Stripe shows it.
type Found struct {
	Gone     bool // deleted, or never there
	ID       string
	Number   string
	Status   string // draft, open, paid, void, uncollectible
	Currency string
	Subtotal int64
	Total    int64
	Items    []FoundItem // the oldest first
}

// FoundItem is an invoice item as Stripe shows it.
type FoundItem struct {
	ID       string
	Ref      string // of the bill, from its metadata; empty if it is not ours
	Line     string
	Amount   int64
	Currency string
}

// Kind is how something differs.
type Kind string

// The kinds of differences.
const (
	MissingLine  Kind = "missing"  // on the bill, not on the invoice
	ExtraLine    Kind = "extra"    // on the invoice, not on the bill
	RepeatedLine Kind = "repeated" // more than once on the invoice
	OtherAmount  Kind = "amount"
	OtherMoney   Kind = "currency"
	OtherTotal   Kind = "total"
	OtherStatus  Kind = "status" // gone, void, or uncollectible
	Unconfirmed  Kind = "outbox" // on the invoice, and the record does not know it
)

// Difference is one thing in which bill, record and invoice do not agree.
type Difference struct {
	Kind Kind   `json:"kind"`
	Line string `json:"line,omitempty"` // of the bill
	Item string `json:"item,omitempty"` // Stripe's id
	Want string `json:"want,omitempty"`
	Got  string `json:"got,omitempty"`
}

func (d Difference) String() string {
	name := d.Line
	if name == "" {
		name = d.Item
	}
	switch {
	case d.Want == "" && d.Got == "":
		return fmt.Sprintf("%s %s", d.Kind, name)
	case d.Want == "":
		return fmt.Sprintf("%s %s: %s", d.Kind, name, d.Got)
	}
	return fmt.Sprintf("%s %s: want %s, found %s", d.Kind, name, d.Want, d.Got)
}

// describe names the first few differences.
func describe(all []Difference) string {
	const shown = 5
	var parts []string
	for _, d := range all[:min(shown, len(all))] {
		parts = append(parts, d.String())
	}
	if len(all) > shown {
		parts = append(parts, fmt.Sprintf("and %d more", len(all)-shown))
	}
	return strings.Join(parts, "; ")
}

// Compare holds a bill and its record against the invoice as it is, and says line by line
// in what they differ; nothing is no difference. Lines that a subscription brings are its
// own affair, and so is the total of its invoice.
func Compare(rec Push, found Found) []Difference {
	if found.Gone {
		return []Difference{{Kind: OtherStatus, Want: "an invoice", Got: "none"}}
	}
	var all []Difference
	report := func(kind Kind, line, item, want, got string) {
		all = append(all, Difference{kind, line, item, want, got})
	}
	if found.Status == "void" || found.Status == "uncollectible" {
		report(OtherStatus, "", found.ID, "draft, open or paid", found.Status)
	}
	confirmed := map[string]string{}
	for _, e := range rec.Lines {
		confirmed[e.Line] = e.ID
	}
	byLine := map[string][]FoundItem{}
	onBill := map[string]bool{}
	for _, l := range rec.Bill.Lines {
		onBill[l.ID] = true
	}
	for _, it := range found.Items {
		switch {
		case it.Ref == rec.Ref && onBill[it.Line]:
			byLine[it.Line] = append(byLine[it.Line], it)
		case it.Ref == rec.Ref || rec.Bill.Invoice == "":
			report(ExtraLine, it.Line, it.ID, "", strconv.FormatInt(it.Amount, 10)+" "+strings.ToUpper(it.Currency))
		}
	}
	for _, l := range rec.Bill.Lines {
		items := byLine[l.ID]
		if len(items) == 0 {
			report(MissingLine, l.ID, "", strconv.FormatInt(l.Amount, 10), "nothing")
			continue
		}
		kept := keptItem(items, confirmed[l.ID])
		for i, it := range items {
			if i != kept {
				report(RepeatedLine, l.ID, it.ID, "", strconv.FormatInt(it.Amount, 10))
			}
		}
		it := items[kept]
		if !strings.EqualFold(it.Currency, rec.Bill.Currency) {
			report(OtherMoney, l.ID, it.ID, strings.ToUpper(rec.Bill.Currency), strings.ToUpper(it.Currency))
		}
		if it.Amount != l.Amount {
			report(OtherAmount, l.ID, it.ID, strconv.FormatInt(l.Amount, 10), strconv.FormatInt(it.Amount, 10))
		}
		if confirmed[l.ID] != it.ID {
			report(Unconfirmed, l.ID, it.ID, confirmed[l.ID], it.ID)
		}
	}
	if rec.Bill.Invoice == "" && len(all) == 0 {
		// Tax is added to the subtotal and is not ours.
		if found.Subtotal != rec.Bill.Total {
			report(OtherTotal, "", found.ID, strconv.FormatInt(rec.Bill.Total, 10), strconv.FormatInt(found.Subtotal, 10))
		}
		if !strings.EqualFold(found.Currency, rec.Bill.Currency) {
			report(OtherMoney, "", found.ID, rec.Bill.Currency, found.Currency)
		}
	}
	return all
}

// keptItem is the place of the item that stays if a line is there more than once: the one
// that the record knows, else the oldest.
func keptItem(items []FoundItem, confirmed string) int {
	for i, it := range items {
		if it.ID == confirmed {
			return i
		}
	}
	return 0
}

// repeats are the differences that a draft can be rid of without asking anybody: a line
// of ours that is there twice because a request took effect after it was given up.
func repeats(all []Difference) []Difference {
	var list []Difference
	for _, d := range all {
		if d.Kind == RepeatedLine {
			list = append(list, d)
		}
	}
	return list
}

// reason is what a difference means for the state of a push.
func (d Difference) reason(found Found) string {
	switch {
	case found.Gone:
		return ReasonDeleted
	case d.Kind == OtherStatus:
		return ReasonVoided
	case found.Status != "draft":
		return ReasonClosed
	}
	switch d.Kind {
	case ExtraLine:
		return ReasonForeign
	case OtherAmount, OtherMoney:
		return ReasonChanged
	case MissingLine, Unconfirmed:
		return ReasonRemoved
	}
	return ReasonTotal
}

// Repair is one thing that would make a draft what the bill says.
type Repair struct {
	Action string `json:"action"` // "remove" an item, or "add" a line
	Line   string `json:"line,omitempty"`
	Item   string `json:"item,omitempty"`
}

// Plan says how to mend a draft. What is finalized is never mended: a difference there
// becomes a line of the next month, or a credit note, and that a person decides; so for
// it the plan is empty. An item whose amount is wrong is removed and its line added.
func Plan(found Found, all []Difference) []Repair {
	if found.Gone || found.Status != "draft" {
		return nil
	}
	var plan []Repair
	for _, d := range all {
		switch d.Kind {
		case ExtraLine, RepeatedLine:
			plan = append(plan, Repair{"remove", d.Line, d.Item})
		case OtherAmount, OtherMoney:
			if d.Line != "" {
				plan = append(plan, Repair{"remove", d.Line, d.Item}, Repair{"add", d.Line, ""})
			}
		case MissingLine:
			plan = append(plan, Repair{"add", d.Line, ""})
		}
	}
	return plan
}
