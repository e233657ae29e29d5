package alerting

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// How a message looks: as text, and as HTML that mail programs show alike, which means
// tables and styles on the elements themselves.

// barCells is how wide the bar of a text is, as the platform's guide draws it.
const barCells = 10

// Bar draws a share as the guide does: "████████░░". Above 100 it is full.
func Bar(percent int) string {
	full := min(max(percent, 0), 100) * barCells / 100
	return strings.Repeat("█", full) + strings.Repeat("░", barCells-full)
}

func subjectOf(views []view) string {
	last := &views[len(views)-1]
	if len(views) == 1 {
		return "[" + last.Who + "] " + last.Title
	}
	who := last.Who
	for i := range views {
		if views[i].Who != who {
			who = "Panda"
		}
	}
	return fmt.Sprintf("[%s] %d alerts, the last: %s", who, len(views), last.Title)
}

func renderText(subject string, views []view) string {
	var b strings.Builder
	if len(views) > 1 {
		b.WriteString(subject + "\n\n")
	}
	for i := range views {
		if i > 0 {
			b.WriteString("\n" + strings.Repeat("-", 60) + "\n\n")
		}
		views[i].text(&b)
	}
	return b.String()
}

func (v *view) text(b *strings.Builder) {
	fmt.Fprintf(b, "%s: %s\n\n%s\n", v.Who, v.Title, v.Lead)
	if v.Percent >= 0 {
		fmt.Fprintf(b, "\n  %s %d%%\n", Bar(v.Percent), v.Percent)
	}
	table := func(title string, lines []line) {
		if len(lines) == 0 {
			return
		}
		b.WriteString("\n")
		if title != "" {
			b.WriteString(title + "\n")
		}
		label, value := 0, 0
		for _, l := range lines {
			label, value = max(label, len([]rune(l.Label))), max(value, len([]rune(l.Value)))
		}
		for _, l := range lines {
			b.WriteString(strings.TrimRight(fmt.Sprintf("  %-*s  %-*s  %s", label, l.Label, value, l.Value, l.Extra), " ") + "\n")
		}
	}
	table("", v.Lines)
	table("Top models", v.Models)
	table("Top agents", v.Agents)
	if v.Next != "" {
		fmt.Fprintf(b, "\nWhat happens next: %s\n", v.Next)
	}
	b.WriteString("\n")
	if v.Link != "" {
		fmt.Fprintf(b, "Look: %s\n", v.Link)
	}
	fmt.Fprintf(b, "Run:  %s\n", v.Command)
}

func escape(s string) string { return html.EscapeString(s) }

// htmlPage is the frame of an HTML message. Its colors have enough contrast on white, and a
// program in dark mode may turn them around.
func htmlPage(title, body string) string {
	return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><title>` + escape(title) + `</title></head>
<body style="margin:0;padding:24px;font:15px/1.5 -apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;color:#1f2328;background:#ffffff">
<div style="max-width:560px;margin:0 auto">
` + body + `
</div></body></html>
`
}

func renderHTML(subject string, views []view) string {
	var b strings.Builder
	for i := range views {
		if i > 0 {
			b.WriteString(`<hr style="border:0;border-top:1px solid #d0d7de;margin:28px 0">` + "\n")
		}
		views[i].html(&b)
	}
	return htmlPage(subject, strings.TrimRight(b.String(), "\n"))
}

func (v *view) html(b *strings.Builder) {
	fmt.Fprintf(b, `<p style="margin:0;color:#57606a">%s</p>`+"\n", escape(v.Who))
	fmt.Fprintf(b, `<h1 style="margin:4px 0 12px;font-size:20px;line-height:1.3;color:%s">%s</h1>`+"\n", v.Color, escape(v.Title))
	if v.Percent >= 0 {
		full := min(max(v.Percent, 0), 100)
		cells := ""
		if full > 0 {
			cells += fmt.Sprintf(`<td width="%d%%" style="background:%s;height:10px;line-height:10px;font-size:1px">&nbsp;</td>`, full, v.Color)
		}
		if full < 100 {
			cells += `<td style="background:#d0d7de;height:10px;line-height:10px;font-size:1px">&nbsp;</td>`
		}
		fmt.Fprintf(b, `<table role="img" aria-label="%d%%" width="100%%" cellpadding="0" cellspacing="0" style="border-collapse:collapse;margin:0 0 12px"><tr>%s</tr></table>`+"\n", v.Percent, cells)
	}
	fmt.Fprintf(b, "<p style=\"margin:0 0 16px\">%s</p>\n", escape(v.Lead))
	htmlTable(b, "", v.Lines)
	htmlTable(b, "Top models", v.Models)
	htmlTable(b, "Top agents", v.Agents)
	if v.Next != "" {
		fmt.Fprintf(b, "<p style=\"margin:0 0 16px\"><b>What happens next:</b> %s</p>\n", escape(v.Next))
	}
	if v.Link != "" {
		fmt.Fprintf(b, `<p style="margin:0 0 16px"><a href="%s" style="color:#0969da">Look at it</a></p>`+"\n", escape(v.Link))
	}
	fmt.Fprintf(b, `<p style="margin:0"><code style="font:13px/1.5 ui-monospace,Menlo,Consolas,monospace;background:#eaeef2;color:#1f2328;padding:4px 8px;border-radius:4px">%s</code></p>`+"\n", escape(v.Command))
}

func htmlTable(b *strings.Builder, title string, lines []line) {
	if len(lines) == 0 {
		return
	}
	if title != "" {
		fmt.Fprintf(b, "<p style=\"margin:0 0 4px;font-weight:600\">%s</p>\n", escape(title))
	}
	b.WriteString(`<table cellpadding="0" cellspacing="0" style="border-collapse:collapse;margin:0 0 16px">` + "\n")
	for _, l := range lines {
		fmt.Fprintf(b, `<tr><td style="padding:2px 16px 2px 0;color:#57606a">%s</td><td style="padding:2px 16px 2px 0;text-align:right">%s</td><td style="padding:2px 0;color:#57606a">%s</td></tr>`+"\n",
			escape(l.Label), escape(l.Value), escape(l.Extra))
	}
	b.WriteString("</table>\n")
}

func sortedValues(values map[string]string) []string {
	keys := make([]string, 0, len(values))
	for k := range values {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
