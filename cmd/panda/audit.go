package main

import "github.com/spf13/cobra"

// newAudit is `panda audit`.
func newAudit(a *app) *cobra.Command {
	return group("audit", "See who changed what, who was refused, and which queries could read too much", newAuditLog(a), newAuditQueries(a))
}
