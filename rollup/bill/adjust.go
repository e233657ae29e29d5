package bill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// usageKinds are the kinds that usage can change after a month was closed.
func usageKind(kind string) bool {
	return kind == KindTokens || kind == KindStorage || kind == KindUsageCost || kind == KindCommitment
}

// Adjust returns the lines that a later month needs so that together with closed, and
// the adjustments of it that were billed since, the usage of closed's month comes to what
// now says. now is the same month with the same plans, calculated as of a later position.
// Usage that changed nothing that is owed gives no line.
func Adjust(closed Statement, since []Line, now Statement, cause string) []Line {
	type place struct{ kind, key string }
	type difference struct {
		line  Line
		parts map[Part]schemas.Money
	}
	found := map[place]*difference{}
	add := func(at place, l *Line, sign int) {
		d := found[at]
		if d == nil {
			d = &difference{line: Line{Description: l.Description, Model: l.Model, Department: l.Department, Unit: "line", Quantity: "1"}, parts: map[Part]schemas.Money{}}
			found[at] = d
		}
		for _, p := range l.Parts {
			exact := p.Exact
			if sign < 0 {
				exact = exact.Neg()
			}
			p.Exact, p.Amount = schemas.Money{}, 0
			d.parts[p] = d.parts[p].Add(exact)
			d.line.Exact = d.line.Exact.Add(exact)
		}
	}
	for i := range closed.Lines {
		if l := &closed.Lines[i]; usageKind(l.Kind) {
			add(place{l.Kind, l.Key}, l, -1)
		}
	}
	for i := range since {
		l := &since[i]
		kind, key, _ := strings.Cut(strings.TrimPrefix(l.Key, closed.Month+"/"), "/")
		if l.Kind == KindAdjustment && l.Origin == closed.Month {
			add(place{kind, key}, l, -1)
		}
	}
	for i := range now.Lines {
		if l := &now.Lines[i]; usageKind(l.Kind) {
			add(place{l.Kind, l.Key}, l, 1)
		}
	}
	var lines []Line
	for at, d := range found {
		l := d.line
		for p, exact := range d.parts {
			if p.Exact = exact; !exact.IsZero() {
				l.Parts = append(l.Parts, p)
			}
		}
		if len(l.Parts) == 0 {
			continue
		}
		slices.SortFunc(l.Parts, compareParts)
		l.Kind, l.Key = KindAdjustment, closed.Month+"/"+at.kind+"/"+at.key
		l.Origin, l.Cause = closed.Month, cause
		if !strings.HasPrefix(l.Description, closed.Month) {
			l.Description = fmt.Sprintf("%s, corrected: %s", closed.Month, l.Description)
		}
		lines = append(lines, l)
	}
	slices.SortFunc(lines, func(a, b Line) int { return cmp.Compare(a.Key, b.Key) })
	return lines
}
