package main

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDrawVerify(t *testing.T) {
	const good = `{"check":"ledger","ok":true,"detail":"ranges 2"}` + "\n" + `{"check":"days","ok":true,"skipped":"nothing rolled up"}` + "\n"
	for _, c := range []struct {
		name, answer, want string
		err                error
	}{
		{"all holds", good + `{"ok":true,"checks":2,"took_ms":12}` + "\n",
			"✓ ledger: ranges 2\n– days (not checked: nothing rolled up)\n\nEverything agrees: 2 checks in 12ms.\n", nil},
		{"one does not", good + `{"check":"raw","ok":false,"findings":["window 2026-02: 3 is not 4"]}` + "\n" +
			`{"ok":false,"checks":3,"took_ms":12}` + "\n",
			"✓ ledger: ranges 2\n– days (not checked: nothing rolled up)\n✗ raw\n    window 2026-02: 3 is not 4\n\n" +
				"NOT everything agrees: 1 of 3 checks failed in 12ms.\n", errFoundWrong},
		{"the last line contradicts", `{"check":"raw","ok":false}` + "\n" + `{"ok":true,"checks":1}` + "\n",
			"✗ raw\n\nNOT everything agrees: 1 of 1 check failed in 0s.\n", errFoundWrong},
		{"cut", good, "✓ ledger: ranges 2\n– days (not checked: nothing rolled up)\n", io.ErrUnexpectedEOF},
		{"empty", "", "", io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, stdout, _ := testApp(nil)
			err := a.drawVerify(strings.NewReader(c.answer))
			if !errors.Is(err, c.err) {
				t.Errorf("%v, not %v", err, c.err)
			}
			if diff := cmp.Diff(c.want, stdout.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
