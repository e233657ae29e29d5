package alerting

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/agentik-os/panda/schemas"
)

// A Message is what a channel sends: one record, or several as a digest.
type Message struct {
	// ID is the same for every try to send the same to the same channel.
	ID string
	// To is where it goes, as the channel understands it: mail addresses with commas
	// between; empty where the channel itself says.
	To string
	// Records are what it is about, the oldest first; at least one.
	Records []Record
	// At is the moment of the newest record.
	At time.Time
	// Subject is a line, Text and HTML say the same to people. Names in HTML are
	// escaped; Subject and Text are plain, and hold no control characters but the line
	// breaks of Text.
	Subject, Text, HTML string
	// Link leads to the alert, empty without a public address. Command is what to run.
	Link, Command string
	// DedupKey is the same for all that belongs to one incident: a limit's threshold or
	// a rule, whatever the period, revision or episode.
	DedupKey string
	// Resolve says that the incident is over.
	Resolve bool
	// Severity is the highest of the records.
	Severity Severity
	// Test says that somebody tries the channel out.
	Test bool
}

// RenderConfig says what messages need to know about the installation.
type RenderConfig struct {
	// PublicURL is where people reach it, without a slash at the end; empty: no links.
	PublicURL string
}

// Render makes a message of records that were decided, the oldest first. It is pure:
// the same records give the same message. It panics without a record.
func Render(cfg RenderConfig, id, to string, records []Record) Message {
	if len(records) == 0 {
		panic("alerting: a message about nothing")
	}
	newest := &records[len(records)-1]
	m := Message{ID: id, To: to, Records: records, At: newest.At, DedupKey: newest.Identity.DedupKey()}
	m.Resolve = true
	for i := range records {
		m.Resolve = m.Resolve && records[i].Kind == Resolved
		if m.Severity.Rank() < records[i].Severity.Rank() {
			m.Severity = records[i].Severity
		}
	}
	views := make([]view, len(records))
	for i := range records {
		views[i] = viewOf(cfg, &records[i])
	}
	m.Link, m.Command = views[len(views)-1].Link, views[len(views)-1].Command
	m.Subject = subjectOf(views)
	m.Text = renderText(m.Subject, views)
	m.HTML = renderHTML(m.Subject, views)
	return m
}

// TestMessage is what a channel sends when somebody tries it out.
func TestMessage(cfg RenderConfig, id, to, channel string, at time.Time) Message {
	m := Message{ID: id, To: to, At: at, Severity: SeverityInfo, Test: true, DedupKey: "panda-test-" + id,
		Records: []Record{{Version: RecordVersion, Kind: Fired, Severity: SeverityInfo, At: at, Identity: Identity{Rule: "test"}}}}
	channel = plain(channel, nameRunesMax)
	m.Subject = "Panda: test of channel " + channel
	m.Text = "This is a test of channel " + channel + ". Nothing is wrong: somebody asked whether messages arrive here.\n"
	m.HTML = htmlPage(m.Subject, "<p>"+escape(strings.TrimSpace(m.Text))+"</p>")
	if cfg.PublicURL != "" {
		m.Link = cfg.PublicURL + "/alerts"
	}
	return m
}

// DedupKey is the name of the incident that an alert belongs to.
func (i *Identity) DedupKey() string {
	incident := Identity{Tenant: i.Tenant, Rule: i.Rule, Limit: i.Limit, Name: i.Name, Threshold: i.Threshold}
	return "panda-" + strings.TrimPrefix(incident.ID(), idPrefix)
}

const (
	// nameRunesMax bounds a name in a message: a subject line has 78 columns (RFC 5322,
	// section 2.1.1).
	nameRunesMax = 60
	// conditionRunesMax bounds a condition.
	conditionRunesMax = 300
)

// plain makes a text of somebody else's fit for a line: without control characters,
// line and paragraph separators and characters that change the direction of what
// follows, and not longer than a number of runes.
func plain(s string, runesMax int) string {
	n := 0
	clean := strings.Map(func(r rune) rune {
		switch {
		case n >= runesMax:
			return -1
		case unicode.IsControl(r), unicode.In(r, unicode.Zl, unicode.Zp, unicode.Cf), r == unicode.ReplacementChar:
			r = ' '
		}
		n++
		return r
	}, s)
	if clean = strings.TrimSpace(clean); n >= runesMax {
		clean += "…"
	}
	return clean
}

// A view is a record in words.
type view struct {
	Who     string // whose
	Title   string // "Monthly budget at 84%"
	Lead    string // a sentence
	Lines   []line // figures
	Percent int    // of the bar; -1 for none
	Models  []line
	Agents  []line
	Next    string
	Link    string
	Command string
	Kind    Kind
	Color   string
}

type line struct{ Label, Value, Extra string }

func viewOf(cfg RenderConfig, r *Record) view {
	v := view{Who: plain(r.Facts.TenantName, nameRunesMax), Kind: r.Kind, Percent: -1, Color: colorOf(r)}
	if v.Who == "" {
		v.Who = "Platform"
	}
	if cfg.PublicURL != "" && r.Alert != "" {
		v.Link = cfg.PublicURL + "/alerts/" + url.PathEscape(r.Alert)
	}
	if r.Identity.Rule == RuleThreshold {
		v.limit(r)
	} else {
		v.rule(r)
	}
	for _, of := range []struct {
		from []Share
		to   *[]line
	}{{r.Facts.Models, &v.Models}, {r.Facts.Agents, &v.Agents}} {
		for _, s := range of.from {
			*of.to = append(*of.to, line{plain(s.Name, nameRunesMax), s.Cost.Display(), fmt.Sprintf("%d%%", s.Percent)})
		}
	}
	v.Next = plain(r.Facts.Next, conditionRunesMax)
	if r.Kind == Resolved {
		v.Next = ""
	}
	return v
}

// Title says an alert in a line: "Monthly budget at 84%: $847.32 of $1,000.00".
func (a *Alert) Title() string {
	r := Record{Alert: a.ID, Kind: Fired, Identity: a.Identity, Severity: a.Severity, Facts: a.Facts, At: a.FiredAt}
	return viewOf(RenderConfig{}, &r).Title
}

// limit fills in what a threshold's record says.
func (v *view) limit(r *Record) {
	id, f := &r.Identity, &r.Facts
	noun, period := LimitNoun(id.Limit, id.Name, id.Period), PeriodWords(id.Period)
	used, most := f.Used.Display(), f.Max.Display()
	v.Percent = f.Percent
	v.Title = fmt.Sprintf("%s at %d%%: %s of %s", capital(noun), f.Percent, used, most)
	verb := "used"
	if f.Used.Unit == UnitUSD {
		verb = "spent"
	}
	switch {
	case r.Kind == Resolved && r.Cause == ByLimit:
		v.Title = "Resolved: " + v.Title
		v.Lead = fmt.Sprintf("The %s was changed to %s, and %d%% of it is %s in %s.", noun, most, f.Percent, verb, period)
	case r.Kind == Resolved && r.Cause == ByPeriod:
		v.Title = fmt.Sprintf("Over: %s is over, %s", period, noun)
		v.Lead = fmt.Sprintf("%s is over, and with it the alert at %d%% of the %s.", capital(period), id.Threshold, noun)
	case r.Kind == Resolved:
		v.Title = "Resolved: " + v.Title
		v.Lead = fmt.Sprintf("After a correction, %d%% of the %s for %s is %s, which is below %d%%.", f.Percent, noun, period, verb, id.Threshold)
	case id.Threshold >= 100:
		v.Lead = fmt.Sprintf("The %s for %s is used up: %s of %s is %s.", noun, period, used, most, verb)
		if id.Threshold > 100 {
			v.Lead = fmt.Sprintf("%d%% of the %s for %s is passed: %s of %s is %s.", id.Threshold, noun, period, used, most, verb)
		}
	default:
		v.Lead = fmt.Sprintf("%d%% of the %s for %s is passed: %s of %s is %s.", id.Threshold, noun, period, used, most, verb)
	}
	v.Lines = append(v.Lines, line{"Used", used + " of " + most, fmt.Sprintf("%d%%", f.Percent)}, line{"Period", period, ""})
	if !f.Forecast.IsZero() && r.Kind != Resolved {
		v.Lines = append(v.Lines, line{"Forecast", f.Forecast.Display(), "by the end of " + period + ", at the present rate"})
	}
	if !f.ExhaustedAt.IsZero() && r.Kind != Resolved && f.Percent < 100 {
		v.Lines = append(v.Lines, line{"Used up", f.ExhaustedAt.UTC().Format("2 January 2006, 15:04 UTC"), "at the present rate"})
	}
	v.Command = commandOf(r)
}

// rule fills in what a rule's record says.
func (v *view) rule(r *Record) {
	name, condition := plain(r.Identity.Rule, nameRunesMax), plain(r.Facts.Condition, conditionRunesMax)
	about := ""
	if r.Identity.Name != "" {
		about = " for " + plain(r.Identity.Name, nameRunesMax)
	}
	v.Title = name + about
	if r.Kind == Resolved {
		v.Title = "Resolved: " + v.Title
		v.Lead = fmt.Sprintf("Rule %s is over%s: %s does not hold any more.", name, about, condition)
		if r.Cause == ByRule {
			v.Lead = fmt.Sprintf("Rule %s is gone or was changed, and with it this alert%s.", name, about)
		}
	} else {
		v.Lead = fmt.Sprintf("Rule %s fired%s: %s.", name, about, condition)
	}
	for _, key := range sortedValues(r.Facts.Values) {
		v.Lines = append(v.Lines, line{key, plain(r.Facts.Values[key], nameRunesMax), ""})
	}
	v.Command = commandOf(r)
}

// commandOf is what to run to see more, or to change what was crossed.
func commandOf(r *Record) string {
	slug := r.Facts.TenantSlug
	switch {
	case r.Alert == "":
		return "panda alerts list"
	case slug == "" || r.Kind == Resolved:
		return "panda alerts show " + r.Alert
	case r.Identity.Rule == RuleThreshold && r.Identity.Limit == LimitMonthlyBudget:
		return "panda tenant update " + slug + " --monthly-budget …"
	}
	return "panda alerts show " + r.Alert + " --tenant " + slug
}

// LimitNoun is a limit in words: "monthly budget of department Support". Period tells
// budgets of a day from those of a month.
func LimitNoun(limit, name, period string) string {
	every := "monthly"
	if len(period) == len("2026-02-14") {
		every = "daily"
	}
	name = plain(name, nameRunesMax)
	switch limit {
	case LimitMonthlyBudget, LimitDailyBudget:
		return every + " budget"
	case LimitDepartmentBudget, LimitDepartmentDailyBudget:
		return every + " budget of department " + name
	case LimitCostCenterBudget, LimitCostCenterDailyBudget:
		return every + " budget of cost center " + name
	case LimitAgentBudget, LimitAgentDailyBudget:
		return every + " budget of agent " + name
	case LimitTokens:
		return "token quota"
	case LimitStorage:
		return "storage quota"
	case LimitAgents:
		return "agent quota"
	case LimitSessions:
		return "session quota"
	case LimitCalls:
		return "API rate limit"
	}
	return strings.ReplaceAll(plain(limit, nameRunesMax), "_", " ")
}

// PeriodWords is a period in words: "February 2026", "14 February 2026".
func PeriodWords(period string) string {
	w, err := schemas.ParseWindow(period)
	switch {
	case err != nil:
		return "now"
	case w.Grain == schemas.GrainDay:
		return w.Start.Format("2 January 2006")
	}
	return w.Start.Format("January 2006")
}

// Display is an amount for people: "$847.32", "41,000,000 tokens", "47.3 GB".
func (a Amount) Display() string {
	switch a.Unit {
	case "":
		return "unknown"
	case UnitUSD:
		return a.Money.Display()
	case UnitBytes:
		return gigabytes(a.Count) + " GB"
	case UnitCalls:
		return schemas.GroupDigits(fmt.Sprint(a.Count)) + " calls a minute"
	}
	return schemas.GroupDigits(fmt.Sprint(a.Count)) + " " + string(a.Unit)
}

// gigabytes writes bytes as GB of 1e9 with up to one decimal, cut off: an amount below a
// limit is never shown as the limit.
func gigabytes(bytes int64) string {
	const giga = 1_000_000_000
	whole, tenth := bytes/giga, bytes%giga/(giga/10)
	if tenth == 0 {
		return schemas.GroupDigits(fmt.Sprint(whole))
	}
	return fmt.Sprintf("%s.%d", schemas.GroupDigits(fmt.Sprint(whole)), max(tenth, -tenth))
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func colorOf(r *Record) string {
	switch {
	case r.Kind == Resolved:
		return "#1a7f37"
	case r.Severity == SeverityCritical:
		return "#c62828"
	case r.Severity == SeverityWarning:
		return "#b26a00"
	}
	return "#1565c0"
}
