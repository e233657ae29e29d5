package demo

import (
	"fmt"
	"math/big"
	"sort"
	"strconv"
	"strings"

	"github.com/rivo/uniseg"

	"github.com/agentik-os/panda/schemas"
)

// ScreenData is what the cost attribution screen shows.
type ScreenData struct {
	Tenant string
	Month  schemas.Window
	// Current says that the month is not over.
	Current bool
	Total   schemas.Money
	// Budget is meaningless unless HasBudget.
	Budget    schemas.Money
	HasBudget bool
	// Models and Agents are the most expensive first.
	Models, Agents []Share
}

// Share is a part of a month's cost.
type Share struct {
	Name string
	Cost schemas.Money
	// Unpriced is how many calls have no known price.
	Unpriced int64
}

const (
	// screenWidth is the box's inner width in columns; long names widen it.
	screenWidth = 41
	// nameWidthMax is where a name is cut.
	nameWidthMax = 40
	// topAgents is how many agents are listed.
	topAgents = 5
	// barCells is the length of the budget's bar.
	barCells = 10
)

// Screen draws the cost attribution of a tenant's month as text in a box.
//
// The share of the budget is rounded down, so that 100 % means that it is spent.
// The shares of models are whole per cents that add up to 100: each is rounded
// down, and what is missing goes to the largest remainders.
func Screen(d ScreenData) string {
	label := "Month"
	if d.Current {
		label = "Current Month"
	}
	head := []string{
		"  Tenant: " + clipName(d.Tenant),
		"  " + label + ": " + d.Month.Start.Format("January 2006"),
	}
	body := append(totalLines(&d), "", "  Breakdown:")
	body = append(body, modelLines(d.Models)...)
	body = append(body, "", fmt.Sprintf("  Top %d Agents by Cost:", topAgents))
	body = append(body, agentLines(d.Agents[:min(len(d.Agents), topAgents)])...)
	return box(head, body)
}

func totalLines(d *ScreenData) []string {
	if !d.HasBudget {
		return []string{"  Total Cost: " + dollars(d.Total)}
	}
	used := percentOf(d.Total, d.Budget)
	text := used.String() + "%"
	if d.Budget.IsZero() {
		text = "no budget left"
	}
	filled := barCells
	if used.IsInt64() {
		filled = int(min(max(used.Int64()*barCells/100, 0), barCells))
	}
	bar := strings.Repeat("█", filled) + strings.Repeat("░", barCells-filled)
	return []string{
		"  Total Cost: " + dollars(d.Total) + " / " + strings.TrimSuffix(d.Budget.Display(), ".00") + " (" + text + ")",
		"  " + bar + " " + text,
	}
}

// percentOf returns how many whole per cent of whole part is, rounded down. All
// of nothing is 100.
func percentOf(part, whole schemas.Money) *big.Int {
	if whole.Sign() <= 0 {
		return big.NewInt(100)
	}
	n := new(big.Int).Mul(part.Big(), big.NewInt(100))
	return n.Div(n, whole.Big()) // Euclidean: down for a positive divisor
}

// dollars is an amount for people. What is less than half a cent is not nothing.
func dollars(m schemas.Money) string {
	if m.Sign() > 0 && m.Cents().Sign() == 0 {
		return "<$0.01"
	}
	return m.Display()
}

func modelLines(models []Share) []string {
	var shown []Share
	var costs []schemas.Money
	for _, m := range models {
		if !m.Cost.IsZero() || m.Unpriced != 0 {
			shown = append(shown, m)
			costs = append(costs, m.Cost)
		}
	}
	shares := wholePercents(costs)
	var rows [][3]string
	for i, m := range shown {
		row := [3]string{"• " + clipName(m.Name), dollars(m.Cost), "(" + shares[i] + ")"}
		if m.Cost.IsZero() {
			row[1], row[2] = "no price", "("+schemas.GroupDigits(strconv.FormatInt(m.Unpriced, 10))+" calls)"
		}
		rows = append(rows, row)
	}
	return columns(rows, 2, 2)
}

func agentLines(agents []Share) []string {
	var rows [][3]string
	for i, a := range agents {
		rows = append(rows, [3]string{strconv.Itoa(i+1) + ". " + clipName(a.Name), dollars(a.Cost), ""})
	}
	return columns(rows, 4, 0)
}

// columns lines rows up: names on the left, amounts and shares on the right,
// with gaps of that many columns between them.
func columns(rows [][3]string, gap, lastGap int) []string {
	var width [3]int
	for _, r := range rows {
		for i := range r {
			width[i] = max(width[i], uniseg.StringWidth(r[i]))
		}
	}
	var lines []string
	if len(rows) == 0 {
		lines = append(lines, "  (no usage)")
	}
	for _, r := range rows {
		line := "  " + r[0] + spaces(width[0]-uniseg.StringWidth(r[0])+gap) + spaces(width[1]-uniseg.StringWidth(r[1])) + r[1]
		if r[2] != "" {
			line += spaces(lastGap+width[2]-uniseg.StringWidth(r[2])) + r[2]
		}
		lines = append(lines, line)
	}
	return lines
}

// wholePercents returns the share of each amount, adding up to 100, or "–" for
// all of them if they are not parts of a positive whole.
func wholePercents(amounts []schemas.Money) []string {
	out := make([]string, len(amounts))
	var sum schemas.Money
	parts := true
	for _, a := range amounts {
		sum = sum.Add(a)
		parts = parts && a.Sign() >= 0
	}
	if !parts || sum.IsZero() {
		for i := range out {
			out[i] = "–"
		}
		return out
	}
	percents := make([]int64, len(amounts))
	rests := make([]*big.Int, len(amounts))
	order := make([]int, len(amounts))
	missing := int64(100)
	for i, a := range amounts {
		n := new(big.Int).Mul(a.Big(), big.NewInt(100))
		q, r := n.QuoRem(n, sum.Big(), new(big.Int))
		percents[i], rests[i], order[i] = q.Int64(), r, i
		missing -= percents[i]
	}
	sort.SliceStable(order, func(i, j int) bool { return rests[order[i]].Cmp(rests[order[j]]) > 0 })
	for _, i := range order[:missing] {
		percents[i]++
	}
	for i, p := range percents {
		out[i] = strconv.FormatInt(p, 10) + "%"
	}
	return out
}

// clipName cuts a name that is too wide and takes out what would break a line.
func clipName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return -1
		}
		return r
	}, name)
	if name == "" {
		return "(none)"
	}
	if uniseg.StringWidth(name) <= nameWidthMax {
		return name
	}
	var b strings.Builder
	width := 0
	for g := uniseg.NewGraphemes(name); g.Next() && width+g.Width() < nameWidthMax; width += g.Width() {
		b.WriteString(g.Str())
	}
	return b.String() + "…"
}

// box draws a frame around two groups of lines.
func box(head, body []string) string {
	width := screenWidth
	for _, lines := range [][]string{head, body} {
		for _, l := range lines {
			width = max(width, uniseg.StringWidth(l)+1)
		}
	}
	rule := strings.Repeat("─", width)
	var b strings.Builder
	b.WriteString("┌" + rule + "┐\n")
	for _, l := range head {
		b.WriteString("│" + l + spaces(width-uniseg.StringWidth(l)) + "│\n")
	}
	b.WriteString("├" + rule + "┤\n")
	for _, l := range body {
		b.WriteString("│" + l + spaces(width-uniseg.StringWidth(l)) + "│\n")
	}
	b.WriteString("└" + rule + "┘\n")
	return b.String()
}

func spaces(n int) string { return strings.Repeat(" ", max(n, 0)) }
