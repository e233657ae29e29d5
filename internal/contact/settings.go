package contact

import (
	"slices"
	"time"
	"unicode/utf8"

	"github.com/agentik-os/panda/schemas"
)

// Settings are all that a tenant, or the platform, has said about how it wants to be
// told.
type Settings struct {
	// Channels in the order in which they were made.
	Channels []Channel `json:"channels,omitempty"`
	Mutes    []Mute    `json:"mutes,omitempty"`
	// Revision is the position on CONTROL of the newest change; 0 if there was none.
	Revision uint64 `json:"-"`
}

// A Mute keeps alerts from being sent. They are in the lists all the same.
type Mute struct {
	// ID is "mut_" and 12 characters of a-z and 2-7.
	ID string `json:"id"`
	// Alert is the id of one alert. Otherwise Limit is the word of a limit or Rule the
	// name of a rule, and Name, if it is not empty, the department, cost center, agent
	// or group.
	Alert string `json:"alert,omitempty"`
	Rule  string `json:"rule,omitempty"`
	Limit string `json:"limit,omitempty"`
	Name  string `json:"name,omitempty"`
	// Until is when it ends by itself.
	Until  time.Time `json:"until"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

// muteMax is how far ahead a mute may end.
const muteMax = 366 * 24 * time.Hour

// Validate returns every field that is wrong.
func (m *Mute) Validate(now time.Time) (errs []error) {
	switch {
	case m.Alert == "" && m.Rule == "" && m.Limit == "":
		errs = append(errs, schemas.Invalid("/alert", schemas.CodeMissing, "name an alert, a rule or a limit"))
	case m.Alert != "" && (m.Rule != "" || m.Limit != "" || m.Name != ""):
		errs = append(errs, schemas.Invalid("/alert", schemas.CodeNotAllowed, "an alert has its limit and its name already; give one or the other"))
	}
	for _, field := range []struct{ pointer, text string }{{"/alert", m.Alert}, {"/rule", m.Rule}, {"/limit", m.Limit}, {"/name", m.Name}, {"/reason", m.Reason}} {
		if utf8.RuneCountInString(field.text) > wordBytesMax || !printable(field.text) {
			errs = append(errs, schemas.Invalid(field.pointer, schemas.CodeMalformed, "at most %d characters of printable text", wordBytesMax))
		}
	}
	if !m.Until.After(now) {
		errs = append(errs, schemas.Invalid("/until", schemas.CodeTooEarly, "a mute ends in the future"))
	} else if m.Until.Sub(now) > muteMax {
		errs = append(errs, schemas.Invalid("/until", schemas.CodeTooLate, "a mute ends within a year"))
	}
	return errs
}

// Muted reports whether an alert is not sent at a moment.
func (s *Settings) Muted(alert, rule, limit, name string, now time.Time) bool {
	return slices.ContainsFunc(s.Mutes, func(m Mute) bool {
		if !now.Before(m.Until) {
			return false
		}
		if m.Alert != "" {
			return m.Alert == alert
		}
		return (m.Rule == "" || m.Rule == rule) && (m.Limit == "" || m.Limit == limit) && (m.Name == "" || m.Name == name)
	})
}

// Channel returns a channel.
func (s *Settings) Channel(id string) (Channel, bool) {
	i := slices.IndexFunc(s.Channels, func(c Channel) bool { return c.ID == id })
	if i < 0 {
		return Channel{}, false
	}
	return s.Channels[i], true
}

// Clone returns a copy that shares nothing that a change would touch.
func (s Settings) Clone() Settings {
	s.Channels, s.Mutes = slices.Clone(s.Channels), slices.Clone(s.Mutes)
	return s
}
