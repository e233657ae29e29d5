package invariant

import (
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// A Name is an invariant's word in metrics, logs and answers.
type Name string

// The invariants, in the order of the data.
const (
	// LogCoversLedger: the log is the one the ledger was written from, and ends at
	// or after the ledger's position.
	LogCoversLedger Name = "log_covers_ledger"
	// LogHasNoGap: every record between the ledger's position and the log's end is
	// there.
	LogHasNoGap Name = "log_has_no_gap"
	// VerdictsAddUp: a range has as many verdicts as events.
	VerdictsAddUp Name = "verdicts_add_up"
	// LedgerIsContiguous: the ledger's ranges follow each other without gap or
	// overlap.
	LedgerIsContiguous Name = "ledger_is_contiguous"
	// LedgerEqualsRaw: of every range, the distinct rows in usage_raw have the
	// count, sums and hash that the ledger says.
	LedgerEqualsRaw Name = "ledger_equals_raw"
	// KeysEqualRaw: every accepted event has its identity taken, every void one more.
	KeysEqualRaw Name = "keys_equal_raw"
	// RejectsEqualLedger: of every range, as many conflicts and quarantined events are
	// kept as the ledger says.
	RejectsEqualLedger Name = "rejects_equal_ledger"
	// FilesAreWhole: the engine can read every file of its tables as it was written.
	FilesAreWhole Name = "files_are_whole"
	// ReplayIsEqual: a range of the past that is judged again gets the same
	// verdicts, prices and hash.
	ReplayIsEqual Name = "replay_is_equal"
	// PositionGrows: the position of the rollups never goes back, and is never
	// ahead of the ledger.
	PositionGrows Name = "position_grows"
	// WindowsEqualRaw: hours are what their events add up to, days their hours,
	// months their days.
	WindowsEqualRaw Name = "windows_equal_raw"
	// SettingsHold: broker and engine run with the settings that were asked for.
	SettingsHold Name = "settings_hold"
	// ClockGoesOn: the clock is not before the newest commit.
	ClockGoesOn Name = "clock_goes_on"
)

// Names returns all invariants in the order of the data.
func Names() []Name {
	return []Name{LogCoversLedger, LogHasNoGap, VerdictsAddUp, LedgerIsContiguous, LedgerEqualsRaw, KeysEqualRaw,
		RejectsEqualLedger, FilesAreWhole, ReplayIsEqual, PositionGrows, WindowsEqualRaw, SettingsHold, ClockGoesOn}
}

// A Violation is a breach of an invariant. Each is its own identity for
// errors.Is, so a package may export one as a sentinel and wrap it.
type Violation struct {
	Invariant Name
	text      string
}

func (v *Violation) Error() string { return v.text }

// New returns a Violation to be exported and wrapped with where it was found.
func New(name Name, text string) *Violation { return &Violation{name, text} }

// Broken returns the error of a breach that was found just now.
func Broken(name Name, format string, args ...any) error {
	return &Violation{name, fmt.Sprintf(string(name)+" is broken: "+format, args...)}
}

// Of returns the invariant that an error is the breach of, "" if it is none.
func Of(err error) Name {
	if v, ok := errors.AsType[*Violation](err); ok {
		return v.Invariant
	}
	return ""
}

// A Monitor counts checks and breaches and remembers the first breach. It is safe
// for use by many goroutines; a nil Monitor does nothing.
type Monitor struct {
	checks, violations *prometheus.CounterVec
	halted             prometheus.Gauge

	mu    sync.Mutex
	first error
}

// NewMonitor returns a Monitor whose metrics are registered, unless reg is nil.
func NewMonitor(reg prometheus.Registerer) *Monitor {
	m := &Monitor{
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panda_invariant_checks_total", Help: "Times an invariant was checked and held.",
		}, []string{"invariant"}),
		violations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panda_invariant_violations_total", Help: "Times an invariant was found broken. Not 0: somebody must look.",
		}, []string{"invariant"}),
		halted: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "panda_counting_halted", Help: "1 when counting stopped because an invariant is broken; events still go on the log.",
		}),
	}
	for _, name := range Names() { // a series that is not there cannot be alerted on
		m.checks.WithLabelValues(string(name))
		m.violations.WithLabelValues(string(name))
	}
	if reg != nil {
		reg.MustRegister(m.checks, m.violations, m.halted)
	}
	return m
}

// Held notes that an invariant was checked and holds.
func (m *Monitor) Held(name Name) {
	if m != nil {
		m.checks.WithLabelValues(string(name)).Inc()
	}
}

// Found notes a breach that was found and mended, or is not worth a stop. It
// reports whether err is a breach.
func (m *Monitor) Found(err error) bool {
	name := Of(err)
	if name == "" {
		return false
	}
	if m != nil {
		m.violations.WithLabelValues(string(name)).Inc()
	}
	return true
}

// Halt notes a breach that stopped the counting, and reports whether err is one.
func (m *Monitor) Halt(err error) bool {
	if !m.Found(err) {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.first == nil {
		m.first = err
	}
	m.halted.Set(1)
	return true
}

// Resume forgets the breach that stopped the counting, because it is mended.
func (m *Monitor) Resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.first = nil
	m.halted.Set(0)
}

// Halted returns the breach that stopped the counting, nil while it goes on.
func (m *Monitor) Halted() error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.first
}
