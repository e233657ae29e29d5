package contact

import (
	"time"

	"github.com/agentik-os/panda/schemas"
)

// QuietHours are hours of every day, by the clock on the wall, in which only critical
// alerts are told. They may go over midnight. From is in, To is not.
type QuietHours struct {
	// From and To are "22:00" and "07:00".
	From string `json:"from"`
	To   string `json:"to"`
	// Zone is a name of the IANA time zone database, such as Europe/Berlin.
	Zone string `json:"zone"`
}

const clockLayout = "15:04"

func (q *QuietHours) validate() (errs []error) {
	for _, at := range []struct{ pointer, text string }{{"/quiet_hours/from", q.From}, {"/quiet_hours/to", q.To}} {
		if _, err := time.Parse(clockLayout, at.text); err != nil || len(at.text) != len(clockLayout) {
			errs = append(errs, schemas.Invalid(at.pointer, schemas.CodeMalformed, "%q is no time of day such as 22:00", at.text))
		}
	}
	if q.From == q.To && len(errs) == 0 {
		errs = append(errs, schemas.Invalid("/quiet_hours/to", schemas.CodeOutOfRange, "quiet hours that end when they begin are none, or all; disable the channel instead"))
	}
	if _, err := zone(q.Zone); err != nil {
		errs = append(errs, schemas.Invalid("/quiet_hours/zone", schemas.CodeUnknown, "%q is no time zone such as Europe/Berlin or UTC", q.Zone))
	}
	return errs
}

// zone is LoadLocation without the names that mean the machine's own zone.
func zone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		return nil, schemas.ErrInvalid
	}
	return time.LoadLocation(name)
}

// location is the zone of hours that were validated; UTC where this machine does not
// know it.
func (q *QuietHours) location() *time.Location {
	if q == nil {
		return time.UTC
	}
	loc, err := zone(q.Zone)
	if err != nil {
		return time.UTC
	}
	return loc
}

// minutes is a time of day in minutes.
func minutes(text string) int {
	at, err := time.Parse(clockLayout, text)
	if err != nil {
		return 0
	}
	return at.Hour()*60 + at.Minute()
}

// Until returns when the quiet hours that t is in are over; zero if t is in none. They go
// by the clock on the wall: an hour that is left out ends them at once, and of one that
// is there twice both are quiet, so that whoever waits asks again when the time has come.
func (q *QuietHours) Until(t time.Time) time.Time {
	if q == nil {
		return time.Time{}
	}
	local := t.In(q.location())
	from, to, now := minutes(q.From), minutes(q.To), local.Hour()*60+local.Minute()
	days := 0
	switch {
	case from < to && (now < from || now >= to), from > to && now >= to && now < from:
		return time.Time{}
	case from > to && now >= from:
		days = 1
	}
	end := time.Date(local.Year(), local.Month(), local.Day()+days, to/60, to%60, 0, 0, local.Location())
	if !end.After(t) { // an hour that is there twice, and this is the second one
		end = t.Add(time.Minute)
	}
	return end
}

// After returns when a message of moment t is sent together with others: the next full
// hour, or midnight; zero where they are sent at once. It is later than t.
func (c *Channel) After(t time.Time) time.Time {
	local := t.In(c.Quiet.location())
	switch c.Digest {
	case Hourly:
		// By the elapsed time, so that an hour that is there twice has two ends.
		into := time.Duration(local.Minute())*time.Minute + time.Duration(local.Second())*time.Second + time.Duration(local.Nanosecond())
		return t.Add(time.Hour - into)
	case Daily:
		return time.Date(local.Year(), local.Month(), local.Day()+1, 0, 0, 0, 0, local.Location())
	}
	return time.Time{}
}
