package client_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/agentik-os/panda/ingest/client"
	"github.com/agentik-os/panda/schemas"
)

func Example() {
	server := httptest.NewServer(http.HandlerFunc(exampleServer))
	defer server.Close()

	c, err := client.New(client.Config{
		URL:    server.URL,
		APIKey: "panda_…",
		Source: "/runtime/eu-1",
		OnError: func(err error) {
			fmt.Println("usage:", err)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = c.Record(client.Event{
		Provider: "anthropic",
		Model:    "claude-sonnet-4-5",
		Agent:    "support",
		Tokens:   schemas.Tokens{schemas.Input: 1200, schemas.Output: 340},
	})
	if err != nil {
		fmt.Println(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		fmt.Println(err)
	}
	fmt.Println("accepted:", c.Stats().Accepted)
	// Output:
	// server got claude-sonnet-4-5 from /runtime/eu-1
	// accepted: 1
}

// exampleServer accepts everything.
func exampleServer(w http.ResponseWriter, r *http.Request) {
	body, err := gzip.NewReader(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var events []struct {
		Source string
		Data   struct{ Model string }
	}
	if err := json.NewDecoder(body).Decode(&events); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for _, e := range events {
		fmt.Println("server got", e.Data.Model, "from", e.Source)
	}
	fmt.Fprintf(w, `{"accepted":%d,"duplicates":0,"rejected":0,"events":[]}`, len(events))
}
