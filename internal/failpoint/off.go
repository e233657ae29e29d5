//go:build !failpoint

package failpoint

// Enabled says whether the program was built with the tag.
const Enabled = false

// Hit marks a crash point. Without the tag it is nothing: it inlines to no code.
func Hit(Point) {}

// Reached marks a rare path. Without the tag it is nothing: it inlines to no code.
func Reached(Point) {}

// Check reads what the environment asks for. Without the tag it asks for nothing.
func Check() error { return nil }

// Schedule is the schedule of a job: the one it has.
func Schedule(schedule string) string { return schedule }
