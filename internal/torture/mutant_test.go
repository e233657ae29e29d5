package torture_test

import (
	"testing"

	"github.com/agentik-os/panda/internal/torture"
)

// TestMutantsFitTheCode: a defect whose diff does not apply any more, or does not
// build, would be a control that was never made.
func TestMutantsFitTheCode(t *testing.T) {
	module, err := torture.Module(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	all, err := torture.Mutants()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 5 {
		t.Errorf("%d mutants", len(all))
	}
	for _, m := range all {
		t.Run(m.Name, func(t *testing.T) {
			overlay, err := m.Overlay(t.Context(), module, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Vet(t.Context(), module, overlay); err != nil {
				t.Error(err)
			}
		})
	}
}
