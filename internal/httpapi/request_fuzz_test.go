package httpapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
)

// Fuzz targets of what callers write and this package reads.

// FuzzPeople: of any list, every row that is taken has three fields, every row that is
// not says why, and each has its line; a list without end ends.
func FuzzPeople(f *testing.F) {
	for _, list := range []string{"", "name,email,role\nJane,jane@acme.com,admin\n", "john@acme.com,John Doe,viewer\n", "# a comment\n\ufeffrole,email,name\n",
		"\"Doe, John\", j@a.b ,ADMIN\n\"broken\n", "a,b\x00,c\xff\n", "name,email,role\nname,email,role\n", strings.Repeat("a@b.c,A,viewer\n", 50)} {
		f.Add(list)
	}
	f.Fuzz(func(t *testing.T, list string) {
		people, report, err := readPeople(strings.NewReader(list))
		if err != nil {
			if people != nil || report != nil || ProblemOf(err).Status >= http.StatusInternalServerError {
				t.Fatalf("%d people, %d lines, %v", len(people), len(report), err)
			}
			return
		}
		if len(people) != len(report) || len(people) > tenancy.MembersMax {
			t.Fatalf("%d people, %d lines", len(people), len(report))
		}
		for i, p := range people {
			switch {
			case report[i].Line < 1 || i > 0 && report[i].Line < report[i-1].Line:
				t.Fatalf("row %d is on line %d", i, report[i].Line)
			case report[i].Detail == "" && (report[i].Email != p.Email || p.Email != strings.ToLower(p.Email)):
				t.Fatalf("row %d: %q is reported as %q", i, p.Email, report[i].Email)
			case report[i].Detail != "" && p != (tenancy.NewMember{}):
				t.Fatalf("row %d is refused and taken: %+v", i, p)
			}
		}
	})
}

// FuzzMergePatch: a merge patch is read or refused with a field, and what it does not
// name stays as it is.
func FuzzMergePatch(f *testing.F) {
	for _, body := range []string{`{}`, `{"name":"A"}`, `{"name":null}`, `{"monthly_budget":"12.50"}`, `{"monthly_budget":null}`, `{"daily_budget":"3"}`, `{"quotas":{"max_agents":"unlimited"}}`,
		`{"quotas":{"max_agents":null,"max_storage_gb":7}}`, `{"budgets":[{"kind":"agent","name":"x","monthly_budget":"1"}]}`, `{"budgets":null}`, `{"status":"active"}`,
		`{"name":"a","name":"b"}`, `{"name":1}`, `[]`, `null`, `{"name":"\ud800"}`, `{"monthly_budget":1e400}`, `{"quotas":{"max_agents":-1}}`} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var p tenantPatch
		if err := UnmarshalStrict([]byte(body), &p); err != nil {
			if s := ProblemOf(err).Status; s != http.StatusBadRequest && s != http.StatusUnprocessableEntity {
				t.Fatalf("%q: %d, %v", body, s, err)
			}
			return
		}
		var named map[string]json.RawMessage
		if err := json.Unmarshal([]byte(body), &named); err != nil {
			t.Fatalf("%q is taken and is no object: %v", body, err)
		}
		for name, set := range map[string]bool{"name": p.Name.set, "org_id": p.OrgID.set, "billing_email": p.BillingEmail.set,
			"stripe_customer_id": p.StripeCustomerID.set, "monthly_budget": p.MonthlyBudget.set,
			"daily_budget": p.DailyBudget.set, "budgets": p.Budgets.set} {
			if _, there := named[name]; there != set {
				t.Fatalf("%q: %s is there: %v, and read: %v", body, name, there, set)
			}
		}
		before := tenancy.QuotaOverrides{tenancy.MaxAgents: 5, tenancy.MaxStorageGB: 6}
		after := p.Quotas.on(before)
		if !p.Quotas.MaxAgents.set && after[tenancy.MaxAgents] != 5 || p.Quotas.MaxAgents.null && after[tenancy.MaxAgents] != 0 {
			t.Fatalf("%q makes %v of %v", body, after, before)
		}
		if before[tenancy.MaxAgents] != 5 || before[tenancy.MaxStorageGB] != 6 {
			t.Fatalf("%q has changed what was there: %v", body, before)
		}
		name := "as it was"
		if p.Name.to(&name); !p.Name.set && name != "as it was" || p.Name.null && name != "" {
			t.Fatalf("%q makes the name %q", body, name)
		}
	})
}

// FuzzIfMatch: a revision is read from the ETag that was given, or anything goes by *,
// or it is refused; never a change by mistake.
func FuzzIfMatch(f *testing.F) {
	for _, text := range []string{"", "*", `"42"`, `"0"`, `W/"42"`, `"42", "43"`, `42`, `"-1"`, `"18446744073709551616"`, `""42""`, `"+1"`, `"042"`, "\"42\"\x00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := httptest.NewRequest(http.MethodPatch, "/", nil)
		r.Header["If-Match"] = []string{text}
		revision, err := ifMatch(r)
		switch {
		case err != nil && (revision != 0 || ProblemOf(err).Status != http.StatusUnprocessableEntity):
			t.Fatalf("%q: %d, %v", text, revision, err)
		case err == nil && revision == 0 && text != "" && text != "*":
			t.Fatalf("%q matches everything", text)
		case err == nil && revision != 0 && eTag(revision) != text:
			t.Fatalf("%q is read as %d, whose ETag is %s", text, revision, eTag(revision))
		}
	})
}

// FuzzAuditQuery: a time, a number of rows and a cursor of the audit log are what they
// say, or refused.
func FuzzAuditQuery(f *testing.F) {
	for _, q := range [][3]string{{"2026-02-14", "50", ""}, {"2026-02-14T09:00:00Z", "500", "x"}, {"2026-02-30", "0", ""}, {"9999999-01-01", "-1", "AAAA"},
		{"2026-02-14T09:00:00+23:59", "1e3", ""}, {"\x00", "٣", ""}, {"0000-01-01", "501", "====="}} {
		f.Add(q[0], q[1], q[2])
	}
	cursors := Cursors{Key: []byte(strings.Repeat("k", 32))}
	scope := tenancy.ScopeOf("ten_a", "")
	f.Fuzz(func(t *testing.T, from, limit, cursor string) {
		r := httptest.NewRequest(http.MethodGet, "/?"+url.Values{"from": {from}, "limit": {limit}}.Encode(), nil)
		at, err := auditTime(r, "from")
		if err != nil && !at.IsZero() || err == nil && from != "" && !utf8.ValidString(from) {
			t.Fatalf("%q: %s, %v", from, at, err)
		}
		if n, err := PageSize(r); err == nil && limit != "" {
			if want, e := strconv.Atoi(limit); e != nil || want != n || n < 1 || n > pageMax {
				t.Fatalf("%q is %d rows", limit, n)
			}
		} else if err != nil && ProblemOf(err).Status != http.StatusUnprocessableEntity {
			t.Fatalf("%q: %v", limit, err)
		}
		if got, err := cursors.Decode(scope, "audit\x00ten_a", cursor); err == nil && cursor != "" {
			t.Fatalf("%q was not made here and opens %q", cursor, got)
		} else if err != nil && schemas.CodeMalformed != ProblemOf(err).Errors[0].Code {
			t.Fatalf("%q: %v", cursor, err)
		}
	})
}
