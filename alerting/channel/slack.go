package channel

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/agentik-os/panda/alerting"
)

// slack is an incoming webhook. Format: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
type slack struct {
	url   string
	guard *Guard
}

type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type slackBlock struct {
	Type string     `json:"type"`
	Text *slackText `json:"text,omitempty"`
}

const (
	// slackHeaderMax and slackSectionMax are Slack's, in characters.
	slackHeaderMax  = 150
	slackSectionMax = 2900
)

func (s slack) Send(ctx context.Context, m *alerting.Message) error {
	blocks := []slackBlock{{Type: "header", Text: &slackText{"plain_text", cut(m.Subject, slackHeaderMax)}}}
	// Preformatted: columns stay columns, and nothing in it is markup but what is
	// escaped.
	text := "```" + strings.ReplaceAll(cut(slackEscape(m.Text), slackSectionMax), "```", "'''") + "```"
	blocks = append(blocks, slackBlock{Type: "section", Text: &slackText{"mrkdwn", text}})
	if m.Link != "" {
		blocks = append(blocks, slackBlock{Type: "section", Text: &slackText{"mrkdwn", "<" + slackEscape(m.Link) + "|Look at it>"}})
	}
	body, err := json.Marshal(struct {
		Text   string       `json:"text"`
		Blocks []slackBlock `json:"blocks"`
	}{slackEscape(m.Subject), blocks})
	if err != nil {
		return encodeError(err)
	}
	return s.guard.post(ctx, s.url, jsonHeader(), body)
}

// slackEscape takes away the meaning of the three characters that have one: a name
// could mention a whole workspace otherwise.
func slackEscape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}

// cut shortens a text to a number of characters.
func cut(s string, runesMax int) string {
	runes := []rune(s)
	if len(runes) <= runesMax {
		return s
	}
	return string(runes[:runesMax-1]) + "…"
}
