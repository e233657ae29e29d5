package contact

import (
	"testing"
	"time"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

// TestQuietHours: over midnight, and on the days on which clocks are changed.
func TestQuietHours(t *testing.T) {
	night := &QuietHours{From: "22:00", To: "07:00", Zone: "Europe/Berlin"}
	lunch := &QuietHours{From: "12:00", To: "13:00", Zone: "UTC"}
	small := &QuietHours{From: "01:00", To: "02:30", Zone: "Europe/Berlin"}
	for _, row := range []struct {
		quiet *QuietHours
		now   string
		until string // "" if it is not quiet
	}{
		{nil, "2026-02-14T23:00:00Z", ""},
		{night, "2026-02-14T20:59:59Z", ""},
		{night, "2026-02-14T21:00:00Z", "2026-02-15T06:00:00Z"},
		{night, "2026-02-15T05:59:59Z", "2026-02-15T06:00:00Z"},
		{night, "2026-02-15T06:00:00Z", ""},
		// Clocks go from 2:00 to 3:00 in this night: an hour less to wait.
		{night, "2026-03-28T22:00:00Z", "2026-03-29T05:00:00Z"},
		// And from 3:00 to 2:00 in this one: an hour more.
		{night, "2026-10-24T21:00:00Z", "2026-10-25T06:00:00Z"},
		// Half past two does not exist in this night: three o'clock it is.
		{small, "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"},
		{small, "2026-03-29T01:00:00Z", ""},
		// And is there twice in this one: quiet until the second.
		{small, "2026-10-24T23:30:00Z", "2026-10-25T01:30:00Z"},
		{small, "2026-10-25T01:10:00Z", "2026-10-25T01:30:00Z"},
		{small, "2026-10-25T01:30:00Z", ""},
		{lunch, "2026-02-14T12:30:00Z", "2026-02-14T13:00:00Z"},
		{lunch, "2026-02-14T13:00:00Z", ""},
	} {
		got := row.quiet.Until(at(t, row.now))
		if want := row.until; want == "" && !got.IsZero() || want != "" && !got.Equal(at(t, want)) {
			t.Errorf("%+v at %s: quiet until %s, want %q", row.quiet, row.now, got.UTC().Format(time.RFC3339), want)
		}
	}
}

func TestDigestComesLater(t *testing.T) {
	kolkata := &QuietHours{From: "22:00", To: "07:00", Zone: "Asia/Kolkata"} // half an hour beside UTC
	for _, row := range []struct {
		c         Channel
		now, want string
	}{
		{Channel{Digest: Hourly}, "2026-02-14T12:30:00Z", "2026-02-14T13:00:00Z"},
		{Channel{Digest: Hourly}, "2026-02-14T13:00:00Z", "2026-02-14T14:00:00Z"},
		{Channel{Digest: Hourly, Quiet: kolkata}, "2026-02-14T12:45:00Z", "2026-02-14T13:30:00Z"},
		{Channel{Digest: Daily}, "2026-02-28T23:59:59Z", "2026-03-01T00:00:00Z"},
		{Channel{Digest: Daily, Quiet: &QuietHours{Zone: "Europe/Berlin"}}, "2026-03-28T23:30:00Z", "2026-03-29T22:00:00Z"},
	} {
		if got := row.c.After(at(t, row.now)); !got.Equal(at(t, row.want)) {
			t.Errorf("%s at %s: %s, want %s", row.c.Digest, row.now, got.UTC().Format(time.RFC3339), row.want)
		}
	}
	if got := (&Channel{}).After(at(t, "2026-02-14T12:30:00Z")); !got.IsZero() {
		t.Errorf("at once is %s", got)
	}
}
