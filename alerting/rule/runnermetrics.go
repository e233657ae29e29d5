package rule

import "github.com/prometheus/client_golang/prometheus"

// RunnerMetrics are the metrics of a Runner.
type RunnerMetrics struct {
	looks   *prometheus.CounterVec
	decided *prometheus.CounterVec
	left    prometheus.Counter
}

// NewRunnerMetrics makes the metrics and registers them, unless reg is nil.
func NewRunnerMetrics(reg prometheus.Registerer) *RunnerMetrics {
	m := &RunnerMetrics{
		looks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panda_alert_rules_looks_total", Help: "Looks at the rules of a tenant or of the platform, by outcome.",
		}, []string{"outcome"}),
		decided: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "panda_alert_rules_decided_total", Help: "Records of rules' alerts that this node decided, by kind.",
		}, []string{"kind"}),
		left: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "panda_alert_rules_groups_left_out_total", Help: "Groups for which a rule would fire and that are beyond the limit of groups.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.looks, m.decided, m.left)
	}
	return m
}
