package schemas

import _ "embed"

//go:embed plans.yaml
var plansYAML []byte

// PlansYAML returns plans.yaml: the plans, their quotas and where new tenants of each
// live.
func PlansYAML() []byte { return plansYAML }
