package isolation

import "github.com/agentik-os/panda/internal/failpoint"

// At returns the configuration with a function that is told each crash point.
func (c Config) At(at func(failpoint.Point)) Config {
	c.at = at
	return c
}
