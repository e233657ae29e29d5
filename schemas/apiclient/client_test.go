package apiclient_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oapi-codegen/nullable"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/agentik-os/panda/internal/apidoc/apidoctest"
	"github.com/agentik-os/panda/internal/auth"
	"github.com/agentik-os/panda/internal/eventlog/eventlogtest"
	"github.com/agentik-os/panda/internal/httpapi"
	"github.com/agentik-os/panda/internal/tenancy"
	"github.com/agentik-os/panda/schemas"
	"github.com/agentik-os/panda/schemas/apiclient"
)

// A platform makes a tenant and gives its runtime a key. Sent again with the same
// Idempotency-Key, a request is answered as before.
func Example() {
	ctx := context.Background()
	c, err := apiclient.New("https://panda.example.com", os.Getenv("PANDA_API_KEY"))
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, request := "pro", "6f1c0a52"
	made, err := c.CreateTenantWithResponse(ctx, &apiclient.CreateTenantParams{IdempotencyKey: &request},
		apiclient.TenantCreate{Name: "Acme Corporation", Slug: "acme-corp", Plan: &plan})
	if err != nil {
		fmt.Println(err) // no answer: send the same again
		return
	}
	tenant, err := apiclient.Answered(made.JSON201, made.ApplicationProblemJSONDefault, made.HTTPResponse)
	var refusal *apiclient.Problem
	if errors.As(err, &refusal) && refusal.Code == "conflict" {
		fmt.Println("the slug is taken")
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(tenant.ID, tenant.Quotas.MaxAgents)
}

// start serves the registry over a real log and returns the address and the platform's
// key. Every exchange is held against the document.
func start(t *testing.T) (address, key string) {
	t.Helper()
	r := tenancy.New(tenancy.Config{}, eventlogtest.Open(t))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	select {
	case <-r.Ready():
	case <-time.After(30 * time.Second):
		t.Fatal("the registry did not catch up")
	}
	secret, err := auth.Bootstrap(t.Context(), r, t.TempDir()+"/admin.key")
	if err != nil {
		t.Fatal(err)
	}
	s := httpapi.New(httpapi.Config{Addr: "127.0.0.1:0", Metrics: prometheus.NewRegistry(), Logger: zerolog.Nop(),
		Authenticate: auth.New(auth.Config{Registry: r}).Authenticate})
	(&httpapi.Tenants{Registry: r, Cursors: httpapi.Cursors{Key: bytes.Repeat([]byte{7}, 32)}}).Register(s)
	checker, err := apidoctest.New()
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(checker.Wrap(t, s.Handler()))
	t.Cleanup(web.Close)
	return web.URL, secret.Reveal()
}

func newClient(t *testing.T, address, key string) *apiclient.ClientWithResponses {
	t.Helper()
	c, err := apiclient.New(address, key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func usd(t *testing.T, text string) schemas.Money {
	t.Helper()
	m, err := schemas.ParseMoney(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The life of a tenant as the guide has it, by the generated client against the real
// server.
func TestTheGuideInGo(t *testing.T) {
	address, key := start(t)
	c := newClient(t, address, key)
	ctx := t.Context()
	plan, email := "pro", "billing@acme.com"
	made, err := c.CreateTenantWithResponse(ctx, nil, apiclient.TenantCreate{
		Name: "Acme Corporation", Slug: "acme-corp", Plan: &plan, BillingEmail: &email,
		MonthlyBudget: nullable.NewNullableWithValue(usd(t, "1000")),
		Quotas:        &apiclient.QuotaUpdate{MaxMonthlyTokens: nullable.NewNullableWithValue(apiclient.Quantity(10_000_000))},
	})
	if err != nil {
		t.Fatal(err)
	}
	tenant, err := apiclient.Answered(made.JSON201, made.ApplicationProblemJSONDefault, made.HTTPResponse)
	if err != nil {
		t.Fatal(err)
	}
	budget, err := tenant.MonthlyBudget.Get()
	if err != nil || budget.Cmp(usd(t, "1000")) != 0 || tenant.Quotas.MaxAgents != 100 || tenant.Quotas.MaxMonthlyTokens != 10_000_000 {
		t.Errorf("%+v, budget %s, %v", tenant, budget, err)
	}
	etag := made.HTTPResponse.Header.Get("ETag")

	// More of everything, and the tokens of the plan again.
	update := apiclient.TenantUpdate{
		MonthlyBudget: nullable.NewNullNullable[schemas.Money](),
		Quotas: &apiclient.QuotaUpdate{MaxAgents: nullable.NewNullableWithValue(apiclient.Unlimited),
			MaxMonthlyTokens: nullable.NewNullNullable[apiclient.Limit]()},
	}
	changed, err := c.UpdateTenantWithResponse(ctx, "acme-corp", &apiclient.UpdateTenantParams{IfMatch: &etag}, update)
	if err != nil {
		t.Fatal(err)
	}
	if now := changed.JSON200; now == nil || now.Quotas.MaxAgents != apiclient.Unlimited || now.Quotas.MaxMonthlyTokens != 50_000_000 || !now.MonthlyBudget.IsNull() {
		t.Errorf("%d %s", changed.StatusCode(), changed.Body)
	}
	stale, err := c.UpdateTenantWithResponse(ctx, "acme-corp", &apiclient.UpdateTenantParams{IfMatch: &etag}, update)
	if err != nil || stale.StatusCode() != http.StatusPreconditionFailed || stale.ApplicationProblemJSONDefault.Code != "precondition_failed" {
		t.Errorf("%s, %v", stale.Body, err)
	}

	// A key, once, and again the same.
	request := "6f1c0a52"
	var secrets []string
	for range 2 {
		issued, err := c.CreateKeyWithResponse(ctx, "acme-corp", &apiclient.CreateKeyParams{IdempotencyKey: &request},
			apiclient.KeyCreate{Name: "runtime", Scopes: []apiclient.KeyCreateScopes{"ingest", "read"}})
		if err != nil || issued.JSON201 == nil {
			t.Fatalf("%s, %v", issued.Body, err)
		}
		secrets = append(secrets, *issued.JSON201.Key)
	}
	if secrets[0] != secrets[1] {
		t.Error("the repeated request made another key")
	}
	own, err := newClient(t, address, secrets[0]).GetTenantWithResponse(ctx, "acme-corp")
	if err != nil || own.JSON200 == nil || own.JSON200.ID != tenant.ID {
		t.Errorf("with the new key: %s, %v", own.Body, err)
	}
}

func TestARefusalIsAnError(t *testing.T) {
	address, key := start(t)
	for name, row := range map[string]struct{ key, tenant, code string }{
		"a tenant that is not there": {key, "nobody", "not_found"},
		"a key that is none":         {"nonsense", "nobody", "key_malformed"},
	} {
		res, err := newClient(t, address, row.key).GetTenantWithResponse(t.Context(), row.tenant)
		if err != nil {
			t.Fatal(err)
		}
		_, err = apiclient.Answered(res.JSON200, res.ApplicationProblemJSONDefault, res.HTTPResponse)
		var refusal *apiclient.Problem
		if !errors.As(err, &refusal) || refusal.Code != row.code || err.Error() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer proxy.Close()
	res, err := newClient(t, proxy.URL, key).GetTenantWithResponse(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := apiclient.Answered(res.JSON200, res.ApplicationProblemJSONDefault, res.HTTPResponse); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("a proxy's answer: %v", err)
	}
}

func TestQuantity(t *testing.T) {
	for text, want := range map[string]apiclient.Quantity{"0": 0, "100": 100, `"unlimited"`: apiclient.Unlimited} {
		var q apiclient.Quantity
		if err := json.Unmarshal([]byte(text), &q); err != nil || q != want {
			t.Errorf("%s is read as %s, %v", text, q, err)
		}
		if back, err := json.Marshal(q); err != nil || string(back) != text {
			t.Errorf("%s is written as %s, %v", text, back, err)
		}
	}
	for _, text := range []string{"-1", "1.5", `"many"`, `"5"`, "null", "9223372036854775808"} {
		var q apiclient.Quantity
		if err := json.Unmarshal([]byte(text), &q); err == nil {
			t.Errorf("%s is read as %s", text, q)
		}
	}
}

// The generated file belongs to the document and the settings beside it.
func TestTheClientIsNotStale(t *testing.T) {
	list, err := os.ReadFile("generated.sha256")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(list)), "\n")
	if len(lines) != 4 {
		t.Fatalf("generated.sha256 has %d lines", len(lines))
	}
	for _, line := range lines {
		want, name, _ := strings.Cut(line, "  ")
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != want {
			t.Errorf("schemas/%s has changed since the client was generated: run make generate", name)
		}
	}
}
