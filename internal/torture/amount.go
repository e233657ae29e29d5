package torture

import (
	"fmt"
	"math/big"

	"github.com/agentik-os/panda/schemas"
)

// An Amount is what one event adds.
type Amount struct {
	Calls  int64
	Tokens schemas.Tokens
	Pico   int64 // of a US dollar, 1e-12
}

// Negated is what taking the event back adds.
func (a Amount) Negated() Amount {
	return Amount{Calls: -a.Calls, Tokens: a.Tokens.Negate(), Pico: -a.Pico}
}

// sumFields is calls, each bucket of tokens, and the cost in pico-USD.
const sumFields = schemas.BucketCount + 2

// A Sum is what events add up to, in integers without bounds: what is checked
// against it must not share its mistakes.
type Sum struct{ fields [sumFields]big.Int }

// Add adds an amount.
func (s *Sum) Add(a Amount) {
	var n big.Int
	s.fields[0].Add(&s.fields[0], n.SetInt64(a.Calls))
	for b, tokens := range a.Tokens {
		s.fields[1+b].Add(&s.fields[1+b], n.SetInt64(tokens))
	}
	s.fields[sumFields-1].Add(&s.fields[sumFields-1], n.SetInt64(a.Pico))
}

// Plus adds a sum.
func (s *Sum) Plus(o *Sum) {
	for i := range s.fields {
		s.fields[i].Add(&s.fields[i], &o.fields[i])
	}
}

// Copy returns a sum that does not change with s.
func (s *Sum) Copy() *Sum {
	c := &Sum{}
	c.Plus(s)
	return c
}

func sumField(i int) string {
	switch i {
	case 0:
		return "calls"
	case sumFields - 1:
		return "cost in pico-USD"
	}
	return schemas.Bucket(i-1).String() + " tokens"
}

// Diff says how got differs from s, "" if it does not.
func (s *Sum) Diff(got *Sum) string {
	text := ""
	for i := range s.fields {
		if s.fields[i].Cmp(&got.fields[i]) != 0 {
			text += fmt.Sprintf("; %s: %s expected, %s found", sumField(i), &s.fields[i], &got.fields[i])
		}
	}
	if text == "" {
		return ""
	}
	return text[2:]
}

// Outside says where got lies below s or above high, "" if nowhere.
func (s *Sum) Outside(high, got *Sum) string {
	text := ""
	for i := range s.fields {
		if got.fields[i].Cmp(&s.fields[i]) < 0 || got.fields[i].Cmp(&high.fields[i]) > 0 {
			text += fmt.Sprintf("; %s: %s is not within %s and %s", sumField(i), &got.fields[i], &s.fields[i], &high.fields[i])
		}
	}
	if text == "" {
		return ""
	}
	return text[2:]
}

// numbers is a sum as the API writes it.
type numbers struct {
	Calls  int64            `json:"calls"`
	Tokens map[string]int64 `json:"tokens"`
	Cost   string           `json:"cost"`
}

func (n *numbers) sum() (*Sum, error) {
	s := &Sum{}
	s.fields[0].SetInt64(n.Calls)
	for b := range schemas.BucketCount {
		s.fields[1+b].SetInt64(n.Tokens[schemas.Bucket(b).String()])
	}
	return s, picoOf(&s.fields[sumFields-1], n.Cost)
}

// picoOf reads a decimal number of dollars.
func picoOf(into *big.Int, text string) error {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return fmt.Errorf("%q is not an amount of money", text)
	}
	r.Mul(r, new(big.Rat).SetInt64(1_000_000_000_000))
	if !r.IsInt() {
		return fmt.Errorf("%q has more than twelve decimals", text)
	}
	into.Set(r.Num())
	return nil
}
