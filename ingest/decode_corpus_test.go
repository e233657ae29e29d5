package ingest

import (
	"encoding/json"
	"os"
	"testing"
)

// TestCorpus decodes the events that the published JSON schema is checked
// against, so that schema and decoder cannot drift apart.
func TestCorpus(t *testing.T) {
	text, err := os.ReadFile("../schemas/testdata/events.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Pointer, Code string
		Event               json.RawMessage
	}
	if err := json.Unmarshal(text, &cases); err != nil || len(cases) == 0 {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			_, err := DecodeEvent(c.Event)
			if c.Code == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if field := fieldOf(t, err); field.Code != c.Code || field.Pointer != c.Pointer {
				t.Errorf("have %s at %s (%s), want %s at %s", field.Code, field.Pointer, field.Detail, c.Code, c.Pointer)
			}
		})
	}
}
