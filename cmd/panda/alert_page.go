package main

import (
	"html/template"
	"net/http"
	"regexp"

	"github.com/agentik-os/panda/internal/httpapi"
)

// alertIDs is what an alert's id looks like.
var alertIDs = regexp.MustCompile(`^alr_[0-9a-f]{24}$`)

// alertNotice is where the link of a message leads. It says how to look at the alert and
// nothing about it: whoever has the link has not shown who they are.
var alertNotice = template.Must(template.New("alert").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Alert {{.}}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem;color:#1f2328}pre{background:#f6f8fa;padding:.8rem;border-radius:6px;overflow:auto}</style>
<h1>Alert</h1>
<p>What crossed, and what became of it, is for those who may see the tenant's usage. With your key, run</p>
<pre>panda alerts show {{.}}
panda alerts ack {{.}}</pre>
<p>or ask <code>GET /v1/alerts/{{.}}</code>; <a href="/docs">the API</a> says how.</p>
</html>
`))

// serveAlertPage is GET /alerts/{alert}.
func serveAlertPage(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("alert")
	if !alertIDs.MatchString(id) {
		httpapi.WriteProblem(w, httpapi.NotFound())
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	_ = alertNotice.Execute(w, id) // the caller went away
}
