package rollup_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/agentik-os/panda/internal/invariant"
	"github.com/agentik-os/panda/rollup"
	"github.com/agentik-os/panda/schemas"
)

var errGone = errors.New("not on the log any more")

// mender is a log that can give rows back: those of the project, by sequence. It
// knows what was asked of it.
type mender struct {
	p        *project
	rows     map[uint64]schemas.Accepted
	asked    []uint64
	rebuilds int
}

func (m *mender) restore(_ context.Context, from uint64) (int, error) {
	m.asked = append(m.asked, from)
	row, ok := m.rows[from]
	if !ok {
		return 0, fmt.Errorf("range from %d: %w", from, errGone)
	}
	m.p.insert([]schemas.Accepted{row})
	m.p.keys([]schemas.Accepted{row})
	return 1, nil
}

func newAuditor(t *testing.T, p *project, log rollup.LogReader) (*mender, *rollup.Repairer, *rollup.Auditor) {
	t.Helper()
	m := &mender{p: p, rows: map[uint64]schemas.Accepted{}}
	for seq := uint64(1); seq <= verifyRanges; seq++ {
		m.rows[seq] = verifyCall(seq)
	}
	r := rollup.NewRepairer(rollup.RepairConfig{
		Restore: m.restore, NotOnLog: errGone, Monitor: invariant.NewMonitor(nil),
		Rebuild: func(context.Context) error { m.rebuilds++; return nil },
	}, rollup.NewVerifier(rollup.VerifyConfig{Log: log}, p.db), worker(p))
	return m, r, rollup.NewAuditor(rollup.AuditConfig{TailRanges: 10}, r)
}

// loseRow takes one row away, as a disk that lies does.
func (p *project) loseRow(seq uint64) {
	p.exec(fmt.Sprintf("ALTER TABLE usage_raw DELETE WHERE rank = bitNot(toUInt64(%d))", seq))
}

// TestAuditRestoresWhatIsMissing: the newest ranges are looked at first, then what
// is committed since, and each range that is not whole is restored once.
func TestAuditRestoresWhatIsMissing(t *testing.T) {
	p, log := verifyProject(t)
	m, _, auditor := newAuditor(t, p, log)
	p.loseRow(145)
	p.exec("ALTER TABLE usage_keys DELETE WHERE seq = 150")
	if err := auditor.Tail(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at, _ := auditor.Position(); at != verifyRanges+1 {
		t.Errorf("audited up to %d", at)
	}
	if fmt.Sprint(m.asked) != "[145 150]" || m.rebuilds != 1 {
		t.Errorf("restored %v, rebuilt live totals %d times", m.asked, m.rebuilds)
	}
	if report := p.verify(log, rollup.VerifyOptions{}); !report.OK() {
		t.Errorf("after the repair:\n%s", reportText(&report))
	}
	// Nothing new: nothing is asked. Then a range that was lost right after its commit.
	if err := auditor.Audit(t.Context()); err != nil || len(m.asked) != 2 {
		t.Errorf("nothing new: %v, %v", m.asked, err)
	}
	late := call("t1", verifyRanges+2, may, "opus", 9, 9)
	m.rows[verifyRanges+2] = late
	p.commit(verifyRanges+2, late)
	log.events = append(log.events, 1)
	if err := auditor.Audit(t.Context()); err != nil {
		t.Errorf("keys that were not there: %v", err)
	}
	if fmt.Sprint(m.asked) != "[145 150 152]" {
		t.Errorf("restored %v", m.asked)
	}
}

// TestAuditStopsAtWhatItCannotMend: each breach is named with its place.
func TestAuditStopsAtWhatItCannotMend(t *testing.T) {
	p, log := verifyProject(t)
	m, _, auditor := newAuditor(t, p, log)
	stops := func(name invariant.Name, text string) {
		t.Helper()
		err := auditor.Tail(t.Context())
		if invariant.Of(err) != name || !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("%v, want %s with %q", err, name, text)
		}
	}
	p.loseRow(148)
	delete(m.rows, 148)
	stops(invariant.LedgerEqualsRaw, "log 148 to 148, tenant t1 (not in raw): ledger: 1 events")
	m.rows[148] = verifyCall(148)

	evil := call("evil", 149, may, "opus", 1, 1)
	p.insert([]schemas.Accepted{evil})
	stops(invariant.LedgerEqualsRaw, "evil (not in ledger)")
	if len(m.asked) != 2 { // 148, before and after it could be had
		t.Errorf("a row too many was to be mended from the log: %v", m.asked)
	}
	p.exec("ALTER TABLE usage_raw DELETE WHERE tenant = 'evil'")

	short := log.events
	log.events = log.events[:140]
	stops(invariant.LogCoversLedger, "the log ends at 140, the ledger at 151")
	log.events = short
	p.ledger(verifyRanges+5, verifyRanges+5, nil)
	stops(invariant.LedgerIsContiguous, "a gap: after 151 comes the range 155 to 155")
}

// TestRepairMendsWindows: windows that are lost or wrong are made again from what
// they are made of, and rows first.
func TestRepairMendsWindows(t *testing.T) {
	p, log := verifyProject(t)
	m, repairer, _ := newAuditor(t, p, log)
	p.loseRow(40)
	p.exec("ALTER TABLE rollup DELETE WHERE grain = 'hour' AND tenant = 't2' AND tokens = 77")
	p.exec("ALTER TABLE rollup DELETE WHERE grain = 'month' AND tenant = 't0'")
	done, err := repairer.Repair(t.Context(), rollup.VerifyOptions{}, true, nil)
	if err != nil || !done.Report.OK() {
		t.Fatalf("%v\n%s", err, reportText(&done.Report))
	}
	text := strings.Join(done.Done, "\n")
	for _, want := range []string{"log 40 to 40: 1 rows", "live totals were rebuilt", "were made again from their source"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if fmt.Sprint(m.asked) != "[40]" {
		t.Errorf("restored %v", m.asked)
	}
	again, err := repairer.Repair(t.Context(), rollup.VerifyOptions{}, true, nil)
	if err != nil || len(again.Done) != 0 {
		t.Errorf("a repair of what is whole did %v, %v", again.Done, err)
	}
}
