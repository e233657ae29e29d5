package outbox

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// The limits of repeats.
const (
	backoffMin = 5 * time.Second
	backoffMax = time.Hour
	// giveUpAfter is how long a delivery is tried, and triesMin how often at least:
	// a clock that jumps ahead by days must not end what was tried once.
	giveUpAfter = 48 * time.Hour
	triesMin    = 20
	// waitMax is longer than anything waits for: a day, its longest night, an hour of
	// backoff. What should wait longer, because the clock was set back, is due.
	waitMax = 27 * time.Hour
	// reasonBytesMax bounds what is kept of an error.
	reasonBytesMax = 300
)

// due reports whether a delivery may be tried at a moment.
func (d *Delivery) due(now time.Time) bool {
	return !d.NotBefore.After(now) || d.NotBefore.Sub(now) > waitMax
}

// permanent and patient are what errors of channels say of themselves.
type (
	permanent interface{ Permanent() bool }
	patient   interface{ RetryAfter() time.Duration }
)

// failed notes a try that failed: it is tried again, or given up.
func (d *Delivery) failed(err error, now time.Time) {
	d.Attempts++
	if d.FirstTriedAt.IsZero() {
		d.FirstTriedAt = now
	}
	d.Reason = shorten(err.Error())
	var final permanent
	if errors.As(err, &final) && final.Permanent() {
		d.State, d.EndedAt, d.NotBefore = Dead, now, time.Time{}
		return
	}
	if d.Attempts >= triesMin && now.Sub(d.FirstTriedAt) >= giveUpAfter {
		d.State, d.EndedAt, d.NotBefore = Dead, now, time.Time{}
		d.Reason = shorten(fmt.Sprintf("given up after %d tries: %s", d.Attempts, d.Reason))
		return
	}
	pause := d.backoff()
	var asked patient
	if errors.As(err, &asked) {
		pause = max(pause, min(asked.RetryAfter(), backoffMax))
	}
	d.State, d.NotBefore = Pending, now.Add(pause)
}

// backoff is the pause after the attempts so far: twice as long each time, and up to a
// fifth more, so that what failed together does not come back together. What is added is
// a function of the id, so that a test can say what it is.
func (d *Delivery) backoff() time.Duration {
	pause := backoffMax
	if shift := d.Attempts - 1; shift < 10 {
		pause = min(backoffMin<<shift, backoffMax)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", d.ID, d.Attempts))
	const parts = 1 << 16
	return pause + pause/5*time.Duration(binary.BigEndian.Uint16(sum[:]))/parts
}

// fatal is an error that no repeat mends.
type fatal string

func (f fatal) Error() string { return string(f) }
func (fatal) Permanent() bool { return true }

func shorten(s string) string {
	if len(s) <= reasonBytesMax {
		return s
	}
	cut := reasonBytesMax
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return strings.TrimSpace(s[:cut]) + "…"
}
