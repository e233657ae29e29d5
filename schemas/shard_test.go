package schemas_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/agentik-os/panda/schemas"
)

// TestShardsHaveStreamsApart: what is sent for a tenant lies on the stream of its shard
// and on no other, and a log that is not split has the names it always had.
func TestShardsHaveStreamsApart(t *testing.T) {
	t.Parallel()
	only := schemas.Shards(1)[0]
	if got, want := only.Stream(), schemas.StreamUsage; got != want || only != (schemas.Shard{Of: 1}) {
		t.Errorf("the only shard has stream %s, want %s", got, want)
	}
	if got, want := only.DirectSubject("ten_a"), schemas.DirectSubject("ten_a"); got != want {
		t.Errorf("the only shard stores under %s, want %s", got, want)
	}
	streams := map[string]bool{}
	for _, s := range schemas.Shards(12) {
		if streams[s.Stream()] {
			t.Errorf("two shards have stream %s", s.Stream())
		}
		streams[s.Stream()] = true
		for _, other := range schemas.Shards(12) {
			for _, subject := range []string{s.DirectSubject("ten_a"), s.EnvelopeSubject("ten_a"), s.PricesSubject()} {
				matched := slices.ContainsFunc(other.Subjects(), func(filter string) bool {
					return filter == subject || strings.HasSuffix(filter, ".*") && strings.TrimSuffix(filter, "*") == strings.TrimSuffix(subject, "ten_a")
				})
				if matched != (s == other) {
					t.Errorf("%s of shard %s on the stream of shard %s: %t", subject, s, other, matched)
				}
			}
		}
		for subject, kind := range map[string]schemas.SubjectKind{
			s.DirectSubject("ten_a"): schemas.SubjectDirect, s.EnvelopeSubject("ten_a"): schemas.SubjectEnvelope,
		} {
			if got, tenant := schemas.ParseUsageSubject(subject); got != kind || tenant != "ten_a" {
				t.Errorf("ParseUsageSubject(%q) = %d, %q; want %d, ten_a", subject, got, tenant, kind)
			}
		}
	}
}
