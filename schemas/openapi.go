package schemas

import _ "embed"

//go:embed openapi.yaml
var openAPI []byte

// OpenAPI returns the description of the HTTP API, OpenAPI 3.1 in YAML. Callers do
// not change it.
func OpenAPI() []byte { return openAPI }
