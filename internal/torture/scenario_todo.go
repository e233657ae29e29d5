package torture

import "context"

func Failpoints() Scenario {
	return Scenario{Name: "failpoints", Run: func(context.Context, *Round) error { return nil }}
}
func Engine() Scenario {
	return Scenario{Name: "engine", Run: func(context.Context, *Round) error { return nil }}
}
func Recovery() Scenario {
	return Scenario{Name: "recovery", Run: func(context.Context, *Round) error { return nil }}
}
