package rule

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/agentik-os/panda/schemas"
)

// A Problem is what is wrong at a place of a rules file.
type Problem struct {
	File string `json:"file"`
	// Line and Column count from 1, columns in bytes.
	Line   int    `json:"line"`
	Column int    `json:"column"`
	What   string `json:"what"`
	// Source is the line as it stands in the file.
	Source string `json:"source,omitempty"`
}

// String is "file:line:col: what".
func (p *Problem) String() string {
	place := fmt.Sprintf("%d:%d: ", p.Line, p.Column)
	if p.File != "" {
		place = p.File + ":" + place
	}
	return place + p.What
}

// Caret is the line and a mark under the column, "" without a line. Tabs become blanks.
func (p *Problem) Caret() string {
	if p.Source == "" || p.Column < 1 || p.Column > len(p.Source)+1 {
		return ""
	}
	pad := strings.Repeat(" ", utf8.RuneCountInString(p.Source[:p.Column-1]))
	return strings.ReplaceAll(p.Source, "\t", " ") + "\n" + pad + "^"
}

// Problems are all that is wrong, in the order of the file. They match
// schemas.ErrInvalid.
type Problems []Problem

// Error has one line for each.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// Is makes them match schemas.ErrInvalid.
func (p Problems) Is(target error) bool { return target == schemas.ErrInvalid }
