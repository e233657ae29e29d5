// Package rule reads the alert rules of people and runs them. Its promise is that a rule
// that was accepted means what it says, exactly, that one that cannot work is refused with
// the place that is wrong, and that an episode of a rule is told once.
//
//	alerts:
//	  - name: high-error-rate
//	    condition: error_rate > 5% and calls > 100
//	    window: 10m
//	    for: 5m
//	    group_by: model
//	    action: page-oncall
//
// # Conditions
//
// A condition compares metrics, the names that [Metrics] lists, with each other and with
// numbers: > >= < <= == !=, and or not, + - * / and parentheses. Numbers have their unit
// with them: 5%, 3x, $10, 5m, 1h30m, 30 days, 1_000_000. A number without one counts what
// the other side counts; it is no money and no duration, but for days_since_last_event,
// where it counts days. There is nothing to call and nothing to loop: the work of a
// condition is bounded by its length.
//
// Everything is a fraction of whole numbers; nothing is rounded before it is compared.
// Kinds have to fit: money is not added to tokens. Conditions that can never or always be
// true by what their metrics can be, are refused: error_rate > 5 is a slip for 5%.
//
// Where a metric has no value, such as the error rate of no calls, a comparison with it
// does not hold, and neither does its opposite. A rule whose values go away is over.
//
// # Episodes
//
// The [Runner] looks at a rule's tenants on the rule's schedule, asks the [Source] for
// values, and compares with what stands in the book:
//
//	holds, for as long as "for" says ──▶ fired ──▶ does not hold ──▶ resolved ──▶ next episode
//
// It is level-triggered: what was missed is found with the next look. Which episode is
// open is said by the log alone, so a restart or another node fires nothing twice; it
// forgets how long a condition has held, and begins to wait anew. A node that begins to
// decide looks at everything once, daily rules as well. A rule that is taken
// from the file, or changed so that its Hash is another one, ends its alerts as
// rule_removed.
//
// # When things fail
//
// Values that cannot be had leave everything as it is, and the tenant is tried again
// within seconds; nothing is resolved because a warehouse is away. An action that ends
// a tenant's access is done after its alert is decided, and noted on the log when it is
// done; a node that dies between the two leaves it to the next look. It is not done again
// in the same episode, so whoever resumes the tenant is not overruled. Beyond
// RunnerConfig.GroupsMax groups of a rule and tenant, those that come last by name are left
// out, and counted.
package rule
