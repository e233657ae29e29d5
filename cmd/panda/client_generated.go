package main

import (
	"fmt"
	"io"
	"net/http"

	"github.com/agentik-os/panda/schemas/apiclient"
)

// generated returns the client that is generated of the API's description, over this
// one: with its key, its repeats of what is harmless to repeat, and its errors.
func (c *apiClient) generated() (*apiclient.ClientWithResponses, error) {
	// The address is the apiClient's; the generated one needs some to write paths on.
	return apiclient.NewClientWithResponses("http://panda", apiclient.WithHTTPClient(doer{c}))
}

// doer sends what the generated client asks for.
type doer struct{ client *apiClient }

func (d doer) Do(r *http.Request) (*http.Response, error) {
	ask := request{
		method: r.Method, path: r.URL.EscapedPath(), query: r.URL.Query(), media: r.Header.Get("Content-Type"),
		header: r.Header, retry: r.Method == http.MethodGet || r.Header.Get("Idempotency-Key") != "",
	}
	if r.Body != nil {
		defer r.Body.Close()
		var err error
		if ask.body, err = io.ReadAll(r.Body); err != nil {
			return nil, fmt.Errorf("encode the request of %s: %w", ask.path, err)
		}
	}
	return d.client.send(r.Context(), ask)
}
