package prices

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/agentik-os/panda/schemas"
)

// genaiMatch is one node of the source's tree of name conditions.
type genaiMatch struct {
	Or         []genaiMatch `json:"or"`
	And        []genaiMatch `json:"and"`
	Equals     string       `json:"equals"`
	StartsWith string       `json:"starts_with"`
	EndsWith   string       `json:"ends_with"`
	Contains   string       `json:"contains"`
	Regex      string       `json:"regex"`
}

// rulesMax bounds the rules of one tree, so that conditions on conditions cannot
// multiply without end. The source needs 12.
const rulesMax = 128

// rules flattens a tree into rules of which one must hold, and returns the
// regular expressions that have no rule.
func (m *genaiMatch) rules() (rules []schemas.MatchRule, bad []string) {
	if m == nil {
		return nil, nil
	}
	all, bad := m.flatten()
	if len(all) > rulesMax {
		return nil, append(bad, "more names than a price row takes")
	}
	for _, r := range all {
		duplicate := false
		for _, o := range all {
			// A dated name covers the plain one.
			duplicate = duplicate || r.Exact != "" && o == schemas.MatchRule{Dated: r.Exact}
		}
		for _, o := range rules {
			duplicate = duplicate || o == r
		}
		if !duplicate {
			rules = append(rules, r)
		}
	}
	return rules, bad
}

func (m *genaiMatch) flatten() (rules []schemas.MatchRule, bad []string) {
	switch {
	case m.Or != nil:
		for i := range m.Or {
			r, b := m.Or[i].flatten()
			rules, bad = append(rules, r...), append(bad, b...)
		}
		return rules, bad
	case m.And != nil:
		return m.flattenAnd()
	case m.Equals != "":
		return []schemas.MatchRule{{Exact: m.Equals}}, nil
	case m.StartsWith != "":
		return []schemas.MatchRule{{Prefix: m.StartsWith}}, nil
	case m.EndsWith != "":
		return []schemas.MatchRule{{Suffix: m.EndsWith}}, nil
	case m.Contains != "":
		return []schemas.MatchRule{{Contains: m.Contains}}, nil
	}
	if rules := regexRules(m.Regex); rules != nil {
		return rules, nil
	}
	return nil, []string{m.Regex}
}

// flattenAnd joins conditions that must all hold into single rules. Conditions
// that need one field twice have no rule.
func (m *genaiMatch) flattenAnd() (rules []schemas.MatchRule, bad []string) {
	joined := []schemas.MatchRule{{}}
	for i := range m.And {
		parts, b := m.And[i].flatten()
		if len(b) > 0 {
			return nil, b
		}
		var next []schemas.MatchRule
		for _, left := range joined {
			for _, right := range parts {
				both, ok := joinRules(left, right)
				if !ok {
					return nil, []string{"and of two conditions of one kind"}
				}
				next = append(next, both)
			}
		}
		if len(next) > rulesMax {
			return nil, []string{"more names than a price row takes"}
		}
		joined = next
	}
	return joined, nil
}

func joinRules(a, b schemas.MatchRule) (schemas.MatchRule, bool) {
	for _, f := range []struct {
		into *string
		from string
	}{
		{&a.Exact, b.Exact}, {&a.Dated, b.Dated}, {&a.Prefix, b.Prefix},
		{&a.Suffix, b.Suffix}, {&a.Contains, b.Contains}, {&a.Without, b.Without},
	} {
		if f.from == "" {
			continue
		}
		if *f.into != "" {
			return schemas.MatchRule{}, false
		}
		*f.into = f.from
	}
	return a, true
}

// regexRules translates the few shapes of regular expressions the source uses:
// a literal, a literal and a date, a literal and a digit, a literal prefix, and
// "holds no -tts part". It returns nil for any other.
func regexRules(pattern string) []schemas.MatchRule {
	const noSpeech = `^(?!.*-[tT][tT][sS](?:$|-))`
	if pattern == noSpeech {
		return []schemas.MatchRule{{Without: "-tts"}}
	}
	body, ok := strings.CutPrefix(pattern, "^")
	if !ok {
		return nil
	}
	for _, date := range []string{`-\d{8}$`, `-\d{4}-\d{2}-\d{2}$`} {
		if base, ok := strings.CutSuffix(body, date); ok {
			return literalRule(base, func(s string) schemas.MatchRule { return schemas.MatchRule{Dated: s} })
		}
	}
	if base, ok := strings.CutSuffix(body, `$`); ok {
		return literalRule(base, func(s string) schemas.MatchRule { return schemas.MatchRule{Exact: s} })
	}
	if base, ok := strings.CutSuffix(body, `\d`); ok {
		var rules []schemas.MatchRule
		for digit := range 10 {
			rules = append(rules, literalRule(base, func(s string) schemas.MatchRule {
				return schemas.MatchRule{Prefix: s + strconv.Itoa(digit)}
			})...)
		}
		return rules
	}
	return literalRule(body, func(s string) schemas.MatchRule { return schemas.MatchRule{Prefix: s} })
}

// literalRule makes a rule of a pattern without any operator.
func literalRule(pattern string, rule func(string) schemas.MatchRule) []schemas.MatchRule {
	plain := strings.NewReplacer(`\.`, ".", `\[`, "[", `\]`, "]", `\-`, "-").Replace(pattern)
	if plain == "" || regexp.QuoteMeta(plain) != strings.ReplaceAll(pattern, `\-`, "-") {
		return nil
	}
	return []schemas.MatchRule{rule(plain)}
}
