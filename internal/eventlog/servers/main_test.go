package servers_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/agentik-os/panda/internal/eventlog/servers"
)

// TestMain makes the test binary a server when a Cluster starts it.
func TestMain(m *testing.M) {
	if cfg, asked, err := servers.ConfigFromEnv(os.Getenv); asked {
		if err == nil {
			err = servers.Serve(context.Background(), cfg, os.Stdin, os.Stdout)
		}
		fmt.Fprintln(os.Stderr, "log server:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
