package alerting

// The words of the limits that thresholds are shares of. Those of a month are the words
// of decisions; budgets of a day alert and stop nothing, so that decisions have none.
const (
	LimitMonthlyBudget         = "monthly_budget"
	LimitDailyBudget           = "daily_budget"
	LimitDepartmentBudget      = "department_budget"
	LimitDepartmentDailyBudget = "department_daily_budget"
	LimitCostCenterBudget      = "cost_center_budget"
	LimitCostCenterDailyBudget = "cost_center_daily_budget"
	LimitAgentBudget           = "agent_budget"
	LimitAgentDailyBudget      = "agent_daily_budget"
	LimitTokens                = "monthly_tokens"
	LimitAgents                = "agents"
	LimitStorage               = "storage_gb" // in bytes
	LimitSessions              = "concurrent_sessions"
	LimitCalls                 = "api_calls_per_minute"
)
