package torture

import (
	"errors"
	"fmt"
)

// A Verdict is what a check found. Lines name events and say what is wrong.
type Verdict struct {
	// Checks counts comparisons.
	Checks int64
	// Events are those of the books, Present those of them that are counted.
	Events, Present int64
	// Copies are rows that are in the table twice because a range was repeated: they
	// collapse, and are no fault.
	Copies int64
	// Paths are the sources that answers about usage named.
	Paths []string
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
	v.Copies += o.Copies
	v.Paths = append(v.Paths, o.Paths...)
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
